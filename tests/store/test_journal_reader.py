"""The journal as the `harbor` command finds and reads it."""

import json
import sqlite3

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_reader import failed_cases, open_run
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A working directory with a journal of three jobs."""
    monkeypatch.setattr(journal_writer, "runs_directory", lambda: tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    journal = Journal("run")
    workdir = Workdir(tmp_path, "run")
    workdir.acquire()
    workdir.write_pointer(journal.path)
    journal.set_facts(run="run", total=3)
    for jobid, rule in (("1", "one"), ("2", "many"), ("3", "many")):
        journal.add_job(f"run/{jobid}", jobid, rule, {}, 1, 0.0)
    journal.commit()
    yield tmp_path
    journal.close()
    workdir.release()


def test_the_journal_of_a_directory_is_found(run):
    assert open_run(run).facts() == {"run": "run", "total": 3}


def test_a_case_has_failed_if_its_latest_try_has(run):
    journal = Journal("run2")
    Workdir(run, "run2").write_pointer(journal.path)
    ends = [
        ("1", "a", "failed"),
        ("2", "b", "failed"),
        ("3", "c", "cancelled"),
        ("4", "d", "succeeded"),
        ("5", "b", ""),
    ]
    for at, (jobid, case, state) in enumerate(ends):
        journal.add_job(f"run2/{jobid}", jobid, "s_run", {"case": case}, 1, float(at))
        if state:
            journal.add_change(f"run2/{jobid}", 1, "running", "ada", "", at + 0.1, None)
            journal.add_change(f"run2/{jobid}", 1, state, "ada", f"why {case}", at + 0.2, "log")
    journal.add_job("run2/6", "6", "all", {}, 1, 9.0)
    journal.add_change("run2/6", 1, "failed", None, "why", 9.0, None)
    journal.add_job("run2/7", "7", "s_run", {"case": "e"}, 1, 9.0)
    journal.add_change("run2/7", 1, "cancelled", None, "cancelled", 9.0, None)
    journal.commit()
    assert [row["case"] for row in failed_cases(open_run(run))] == ["a", "c", "e"]
    journal.set_facts(state="cancelled")
    journal.commit()
    known = {"rule": "s_run", "node": "ada", "log": "log"}
    assert failed_cases(open_run(run)) == [
        {**known, "case": "a", "started": 0.1, "ended": 0.2, "reason": "why a"},
        {**known, "case": "c", "started": 2.1, "ended": 2.2, "reason": "why c"},
    ]
    journal.close()


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(HarborError, match="no harbor run in"):
        open_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"run": "run"}', "\xff"])
def test_a_damaged_pointer(run, text):
    (run / ".snakemake/harbor/run.json").write_text(text)
    with pytest.raises(HarborError, match="cannot be read"):
        open_run(run)


def test_a_journal_on_another_machine_or_of_another_version(run):
    pointer = run / ".snakemake/harbor/run.json"
    facts = json.loads(pointer.read_text())
    pointer.write_text(json.dumps(facts | {"host": "elsewhere", "journal": "/nonexistent/journal"}))
    with pytest.raises(HarborError, match="started on elsewhere"):
        open_run(run)
    pointer.write_text(json.dumps(facts))
    with sqlite3.connect(facts["journal"]) as db:
        db.execute("PRAGMA user_version=1")
    with pytest.raises(HarborError, match="another version"):
        open_run(run)
