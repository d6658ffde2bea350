"""The runs of this user: each ended one from its summary, and one that a user names by a part of its name."""

import os
import subprocess
import time

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store.run_list import all_runs, open_named_run, runs_of
from tests.past_runs import FIRST, Past, dead


@pytest.fixture
def past(tmp_path, monkeypatch):
    return Past(tmp_path, monkeypatch)


def test_an_ended_run_is_told_without_its_journal(past):
    name = past.write("one", succeeded=3, failed=1).run
    (past.runs / name / "journal.sqlite").unlink()
    (run,) = runs_of(past.directory("one"))
    assert (run.run, run.state, run.total, dict(run.counts)) == (name, "ended", 4, {"succeeded": 3, "failed": 1})
    assert run.ended - run.started == 60 and not run.is_unfinished


def test_a_run_whose_controller_was_killed(past):
    past.write("one", end=None, succeeded=2, running=1, owner=dead(), at=FIRST + 40)
    (run,) = all_runs()
    assert (run.state, dict(run.counts)) == ("killed", {"succeeded": 2, "running": 1})
    assert run.ended == FIRST + 40, "the last thing that the journal knows" and run.is_unfinished
    (past.runs / run.run / "journal.sqlite").unlink()
    assert all_runs()[0].state == "killed"


def test_a_run_that_goes_on(past):
    past.write("one", end=None, running=2)
    (run,) = all_runs()
    assert run.is_running and run.is_unfinished and run.ended is None and dict(run.counts) == {"running": 2}


def test_a_run_that_could_not_write_its_last_summary(past):
    """The disk was full, or the controller was killed between two writes."""
    journal = past.write("one", end=None, succeeded=1, owner=dead())
    before = (journal.directory / "summary.json").read_bytes()
    journal.set_facts(state="cancelled", ended=FIRST + 9)
    journal.close()
    (journal.directory / "summary.json").write_bytes(before)
    assert [(run.state, run.ended) for run in all_runs()] == [("cancelled", FIRST + 9)]
    for text in ("", "[]", "{}", '{"owner": {}}', '{"owner": 1}'):
        (journal.directory / "summary.json").write_text(text)
        assert all_runs() == []


def test_the_runs_of_a_directory(past):
    one = [past.write("one").run, past.write("one").run]
    past.write("two")
    assert [run.run for run in runs_of(past.directory("one"))] == one == sorted(one)
    moved = past.directory("one").rename(past.directory("one").with_name("moved"))
    assert [run.run for run in runs_of(moved)] == one, "by its id"
    subprocess.run(["rm", "-r", moved / ".snakemake"], check=True)
    moved.rename(past.directory("one"))
    assert [run.run for run in runs_of(past.directory("one"))] == one, "by its path"
    assert len(all_runs()) == 3


def test_a_run_by_a_part_of_its_name(past):
    first, second, other = past.write("one").run, past.write("one").run, past.write("two").run
    here = past.directory("one")
    for part in (first, first[:-1], first[-6:]):
        assert open_named_run(part, here).run == first
    reader = open_named_run(other[-6:], here)
    assert reader.run == other and reader.workdir == past.directory("two")
    same_second = second[:13]
    assert open_named_run(other[:13], past.directory("two")).run == other
    with pytest.raises(HarborError, match=r"3 runs have such a name") as caught:
        open_named_run(second[:6], past.directory("three"))
    assert f"--run {other}" in str(caught.value)
    assert open_named_run(same_second, here).run == second
    for wrong in ("nothing", "", "-", "/"):
        with pytest.raises(HarborError, match="harbor history --all"):
            open_named_run(wrong, here)
    (past.runs / first / "journal.sqlite").unlink()
    with pytest.raises(HarborError, match="was removed"):
        open_named_run(first, here)


def test_hundreds_of_runs_cost_little(past):
    name = past.write("one").run
    text = (past.runs / name / "summary.json").read_text()
    for number in range(500):
        directory = past.runs / f"{name[:-6]}{number:06x}"
        directory.mkdir(exist_ok=True)
        (directory / "summary.json").write_text(text)
    begun = time.process_time()
    assert len(runs_of(past.directory("one"))) > 490
    assert time.process_time() - begun < 0.2
    assert os.listdir(past.runs / f"{name[:-6]}000001") == ["summary.json"], "no journal to open"
