"""Cases that have left the configuration are found with all that is left of them, and nothing else is removed."""

import json
import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.cli.clean_cases import clean_cases
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store.former_cases import former_cases, remove_former_cases

FILES = ("cases/{}/stdout", "failed/{}/stdout", ".steps/run/{}", ".steps/state/{}", "logs/run/{}.log")
OTHERS = (".steps/template/b", "logs/template.log", "logs/collect.log", "results.csv", "cases/.part", "logs/run/.x.log")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The case b has left the sweep s, and the case linked has, too. Its directory is elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in (*(file.format(case) for case in "ab" for file in FILES), *OTHERS):
        path = tmp_path / "results/s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1234")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").touch()
    (tmp_path / "results/s/cases/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "results/unknown/cases/x").mkdir(parents=True)
    (tmp_path / ".snakemake/sweep").mkdir(parents=True)
    (tmp_path / ".snakemake/sweep/table.json").write_text(json.dumps({"cases": [{"case": "a"}]}))
    (tmp_path / ".snakemake/sweep/sweeps.json").write_text('{"s": ".snakemake/sweep/table.json"}')
    return tmp_path


def files(project: Path) -> set[str]:
    return {os.path.relpath(os.path.join(top, name), project) for top, _, names in os.walk(project) for name in names}


def test_what_has_left_is_listed_and_removed_when_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = former_cases(project)
    assert [(each.sweep, each.case, len(each.paths), each.bytes) for each in found] == [
        ("s", "b", 5, 20),
        ("s", "linked", 1, 0),
    ]
    before = files(project)
    assert clean_cases(yes=False, as_json=False) == 0 and files(project) == before
    out = capsys.readouterr().out
    assert out.splitlines()[2].split() == ["s", "linked", "0.0", "MiB", f"{project}/elsewhere"]
    assert "Try: harbor clean --cases --yes" in out
    assert clean_cases(yes=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["removed"] is True
    assert files(project) == before - {f"results/s/{file.format('b')}" for file in FILES}
    assert not os.path.lexists(project / "results/s/cases/linked") and (project / "elsewhere/file").exists()
    assert former_cases(project) == []


def test_while_a_run_goes_on_nothing_is_removed(project: Path) -> None:
    (project / ".snakemake/locks").mkdir()
    (project / ".snakemake/locks/0.input.lock").touch()
    with pytest.raises(HarborError, match="a run goes on"):
        remove_former_cases(project, former_cases(project))
    assert (project / "results/s/cases/b").exists()


def test_without_a_list_of_cases_none_has_left(project: Path) -> None:
    for text in ("{", '{"s": "gone.json"}', "[]"):
        (project / ".snakemake/sweep/sweeps.json").write_text(text)
        with pytest.raises(HarborError, match="snakemake -n"):
            former_cases(project)
