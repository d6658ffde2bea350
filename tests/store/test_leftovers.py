"""What `harbor clean` finds on this machine, and that it never removes what a run needs."""

import os
import time

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store.leftovers import Leftovers, remove_leftovers
from snakemake_executor_plugin_harbor.store.workdir import Workdir
from tests.past_runs import FIRST, Past, dead


@pytest.fixture
def past(tmp_path, monkeypatch):
    past = Past(tmp_path, monkeypatch)
    past.here = past.directory("one")
    return past


def logs(past, *names):
    """Write logs of jobs, and a file of the user beside them."""
    directory = past.here / ".snakemake/harbor_logs/case"
    directory.mkdir(parents=True, exist_ok=True)
    for name in (*names, "notes.log"):
        (directory / name).write_text("text")
    return directory


def found(past, **how):
    return {(item.kind, item.kept): len(item.paths) for item in Leftovers(past.here, **how).find()}


def test_after_a_complete_run_everything_may_go_but_files_of_others(past):
    for _ in range(3):
        past.write("one", succeeded=2)
    other = past.write("two", succeeded=1).run
    directory = logs(past, "1.1.log", "2.1.log", "e874fae2-4711.1.log")
    fences = past.here / ".snakemake/harbor/fence"
    fences.mkdir()
    for name, age in (("old.1.1", 2), ("new.1.1", 0), ("old.2.1.word", 2)):
        (fences / name).touch()
        os.utime(fences / name, (time.time() - age * 86400 - 9,) * 2)
    (past.here / ".snakemake/harbor/probe-run").touch()
    assert found(past) == {("journals", ""): 3, ("logs", ""): 3, ("fences", ""): 1, ("locks", ""): 1}
    assert found(past, everywhere=True)["journals", ""] == 4
    called = []
    remove_leftovers(past.here, on_nodes=lambda found: called.append((past.here / ".snakemake/harbor/lock").exists()))
    assert called == [True], "no run can begin meanwhile"
    assert os.listdir(past.runs) == [other] and os.listdir(directory) == ["notes.log"]
    assert sorted(os.listdir(fences)) == ["new.1.1", "old.2.1.word"]
    assert sorted(os.listdir(past.here / ".snakemake/harbor")) == ["fence", "id", "run.json"]
    assert found(past) == {}


@pytest.mark.parametrize("end", ["killed", "failed", "detached"])
def test_what_the_next_run_continues_stays(past, end):
    first = past.write("one", succeeded=5).run
    if end == "killed":
        last = past.write("one", end=None, owner=dead(), succeeded=1, running=1).run
    else:
        last = past.write("one", end="ended" if end == "failed" else end, succeeded=1, failed=1, complete=False).run
    directory = logs(past, "1.1.log", "2.1.log", "5.1.log")
    why = "the last run is not complete, and the next one continues it"
    assert found(past) == {("journals", ""): 1, ("journals", why): 1, ("logs", ""): 1, ("logs", why): 2}
    remove_leftovers(past.here)
    assert os.listdir(past.runs) == [last] != [first]
    assert sorted(os.listdir(directory)) == ["1.1.log", "2.1.log", "notes.log"]
    (past.here / ".snakemake/harbor/run.json").write_text('{"run": "of another machine"}')
    assert ("logs", "") not in found(past), "its journal is there"


def test_while_a_run_goes_on_only_older_journals_go(past):
    past.write("one", succeeded=2)
    going = past.write("one", end=None, running=1).run
    directory = logs(past, "1.1.log", "7.1.log")
    (past.here / ".snakemake/harbor/lock-x").touch()
    workdir = Workdir(past.here, going)
    workdir.acquire()
    why = f"run {going} goes on"
    assert found(past) == {("journals", ""): 1, ("journals", why): 1, ("logs", why): 2}
    remove_leftovers(past.here)
    assert os.listdir(past.runs) == [going] and len(os.listdir(directory)) == 3
    workdir.heartbeat()
    workdir.release()


def test_a_run_that_begins_before_the_answer(past, monkeypatch):
    past.write("one", succeeded=2)
    workdir = Workdir(past.here, "begins")
    find = Leftovers.find

    def find_and_begin(self):
        workdir.acquire()
        return find(self)

    monkeypatch.setattr(Leftovers, "find", find_and_begin)
    runs = os.listdir(past.runs)
    with pytest.raises(HarborError, match="another harbor controller"):
        remove_leftovers(past.here)
    assert os.listdir(past.runs) == runs
    workdir.release()


def test_the_last_incomplete_run_of_another_directory_stays_while_the_directory_is_there(past):
    past.write("one", succeeded=1)
    past.write("two", succeeded=1)
    last = past.write("two", succeeded=1, failed=1).run
    assert found(past, everywhere=True) == {
        ("journals", ""): 2,
        ("journals", f"the last run of {past.directory('two')} is not complete"): 1,
    }
    remove_leftovers(past.here, everywhere=True)
    assert os.listdir(past.runs) == [last]
    past.directory("two").rename(past.directory("gone"))
    assert found(past, everywhere=True) == {("journals", ""): 1}


def test_the_lock_of_a_killed_controller_and_a_directory_without_runs(past, tmp_path):
    assert Leftovers(tmp_path).find() == [] and Leftovers(tmp_path).id is None
    remove_leftovers(tmp_path)
    assert not (tmp_path / ".snakemake").exists() and FIRST
    past.write("one", succeeded=1)
    workdir = Workdir(past.here, "killed")
    workdir.owner = type(workdir.owner)(**dead())
    workdir.acquire()
    assert found(past)["locks", ""] == 2
    remove_leftovers(past.here)
    assert found(past) == {}


def test_in_a_directory_that_the_user_has_named_only_logs_that_a_journal_names_are_ours(past):
    past.write("one", log_dir="logs", succeeded=2)
    (past.here / "logs/case").mkdir(parents=True)
    for name in ("1.1.log", "2.1.log", "3.1.log", "2026-11-27.1.log"):
        (past.here / "logs/case" / name).touch()
    assert found(past)["logs", ""] == 2
    remove_leftovers(past.here)
    assert sorted(os.listdir(past.here / "logs/case")) == ["2026-11-27.1.log", "3.1.log"]
