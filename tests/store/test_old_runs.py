"""Old journals are removed by number and age when a run starts, but never those that somebody needs."""

import os
import time

import pytest

from snakemake_executor_plugin_harbor.store import old_runs as module
from snakemake_executor_plugin_harbor.store.old_runs import remove_old_runs
from tests.past_runs import FIRST, Past, dead


@pytest.fixture
def past(tmp_path, monkeypatch):
    return Past(tmp_path, monkeypatch)


def test_by_number(past, monkeypatch):
    names = [past.write("one", succeeded=1).run for _ in range(6)]
    remove_old_runs(past.runs, keep=4, days=30)
    assert sorted(os.listdir(past.runs)) == names[2:]
    monkeypatch.setattr(module, "MAX_REMOVED", 2)
    remove_old_runs(past.runs, keep=1, days=30)
    assert sorted(os.listdir(past.runs)) == names[4:], "only so many at one start"


def test_by_age(past):
    old = [past.write("one", began=FIRST - days * 86400).run for days in (41, 40, 28)]
    new = past.write("one").run
    remove_old_runs(past.runs, keep=500, days=30)
    assert sorted(os.listdir(past.runs)) == [old[2], new]


def test_a_run_that_goes_on_is_kept_and_one_that_left_jobs_behind_until_it_is_old(past):
    running = past.write("one", began=FIRST - 50 * 86400, end=None, running=1).run
    killed = past.write("two", end=None, running=1, owner=dead()).run
    detached = past.write("three", end="detached", running=1).run
    done = past.write("four", end="detached", succeeded=1).run
    last = past.write("one").run
    remove_old_runs(past.runs, keep=1, days=30)
    assert sorted(os.listdir(past.runs)) == [running, killed, detached, last] and done
    remove_old_runs(past.runs, keep=1, days=30, now=time.time() + 30 * 86400)
    assert sorted(os.listdir(past.runs)) == [running]


def test_a_directory_without_summary_goes_unless_its_journal_is_being_written(past):
    ended = past.write("one")
    begins = past.write("one", end=None, running=1)
    for run in (ended, begins):
        (run.directory / "summary.json").unlink()
    os.utime(ended.directory / "journal.sqlite", (FIRST, FIRST))
    past.write("one")
    (past.runs / "notes").mkdir()
    (past.runs / "261126-000000-abcdef.tar").touch()
    remove_old_runs(past.runs, keep=1, days=30)
    left = set(os.listdir(past.runs))
    assert ended.run not in left and begins.run in left and {"notes", "261126-000000-abcdef.tar"} < left
    remove_old_runs(past.runs / "gone", keep=1, days=30)
