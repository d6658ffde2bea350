"""`harbor table` in directories without a usable sweep. tests/workflow/test_partial_table.py has it with sweeps."""

import json
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def register(text: str) -> None:
    Path(".snakemake/sweep").mkdir(parents=True)
    Path(".snakemake/sweep/sweeps.json").write_text(text)


def test_without_a_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table"]) == 1
    told = capsys.readouterr().err
    assert f"no sweep has been run in {Path.cwd()}." in told and "Try: snakemake --profile" in told


@pytest.mark.parametrize("text", ["", "3", "[1", "\xff"])
def test_a_damaged_list_of_sweeps(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    register(text)
    assert main(["table"]) == 1
    assert ".snakemake/sweep/sweeps.json cannot be read: " in capsys.readouterr().err


def test_a_sweep_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    register(json.dumps({"flow": "none.json", "heat": "none.json"}))
    assert main(["table", "flwo"]) == 1
    told = capsys.readouterr().err
    assert "there is no sweep 'flwo'; there are flow, heat." in told and "Try: harbor table flow" in told


def test_files_of_the_workflow_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    register(json.dumps({"flow": "none.json"}))
    assert main(["table", "--json"]) == 1
    told = capsys.readouterr().err
    assert "the tables cannot be made: " in told and "Try: snakemake -n" in told and "Traceback" not in told
