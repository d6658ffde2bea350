"""The journal as the `harbor` command finds and reads it."""

import json
import sqlite3

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_reader import open_run
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
