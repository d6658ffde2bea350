"""`harbor rerun` says the command that runs cases again, from how the latest run was started."""

import json
from pathlib import Path

import pytest
from snakemake.cli import parse_args

from snakemake_executor_plugin_harbor.cli import main
from snakemake_executor_plugin_harbor.cli.rerun import again

OPTIONS = [
    (["--profile", "pool", "-s", "S"], "--profile pool -s S --config only=c1 --forcerun D"),
    (["--config", "a=1", "only=c9", "-k", "--", "-F"], "-k --config a=1 only=c1 --forcerun D"),
    (["-C", "a=1", "--forcerun", "x", "y", "--cores=2"], "--cores=2 --config a=1 only=c1 --forcerun D"),
    (["--config=a=1", "-j", "3", "-R", "x"], "-j 3 --config a=1 only=c1 --forcerun D"),
]


@pytest.mark.parametrize(("options", "command"), OPTIONS)
def test_the_options_of_another_run_become_those_for_the_cases(options: list[str], command: str) -> None:
    assert " ".join(again(options, ["c1"], ["D"])) == command
    _, found = parse_args(again(options, ["c1"], ["D"]) if "pool" not in options else [*command.split()[2:]])
    assert found.forcerun == {"D"} and "only=c1" in found.config and not found.forceall


def test_names_with_commas_are_a_condition() -> None:
    assert again([], ["a,b"], [])[1] == "only=a,b"
    assert again([], ["a,b", "c"], [])[1] == "only=case in ('a,b', 'c')"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("one/logs/run/c1.log", "two/logs/run/c1.log", "two/logs/run/c2.log"):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_journal_the_profile_is_an_option(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerun", "c1", "c1", "--profile", "profiles/local", "--json"]) == 0
    words = "snakemake --profile profiles/local --config only=c1 --forcerun results/one/cases/c1 results/two/cases/c1"
    assert json.loads(capsys.readouterr().out) == {"command": words.split()}
    assert main(["rerun", "c2"]) == 1
    assert "  Try: harbor rerun c2 --profile profiles/local" in capsys.readouterr().err


def test_a_case_that_has_never_run_is_an_error(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerun", "c22"]) == 1
    assert "no case 'c22' has begun in" in (told := capsys.readouterr().err) and "Try: harbor rerun c2\n" in told
    assert main(["rerun", "other"]) == 1
    assert "Try: snakemake --config only=other   # and" in capsys.readouterr().err
