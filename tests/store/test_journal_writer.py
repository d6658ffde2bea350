"""The journal on a disk that fails: nothing is lost, nothing ends, one warning."""

import shutil
import sqlite3
import time

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store import journal_writer as module
from snakemake_executor_plugin_harbor.store.journal_writer import Journal


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def journal(tmp_path, monkeypatch, warnings):
    monkeypatch.setattr(module, "runs_directory", lambda: tmp_path)
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    one = Journal("run", warnings.append)
    yield one
    one.close()


def add(journal: Journal, id: str) -> None:
    journal.add_job(id, id, "rule", {"w": "1"}, 1, 1.0)
    journal.add_change(id, 1, "running", "ada", "why", 2.0, "log")


def states(journal: Journal) -> dict[str, str]:
    with sqlite3.connect(f"file:{journal.path}?mode=ro", uri=True) as db:
        return dict(db.execute("SELECT id, state FROM jobs").fetchall())


def lock(journal: Journal) -> sqlite3.Connection:
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_rows_that_cannot_be_written_are_written_later(journal, warnings):
    other = lock(journal)
    for number in range(3):
        add(journal, f"run/{number}")
        journal.commit()
        time.sleep(0.06)
    assert states(journal) == {} and len(warnings) == 1 and "cannot be written" in warnings[0]
    other.execute("ROLLBACK")
    journal.commit()
    assert states(journal) == {f"run/{number}": "running" for number in range(3)}
    with sqlite3.connect(journal.path) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (3,), "each once"


def test_a_job_that_gets_another_reason_has_not_started_again(journal):
    def started() -> tuple[float, str]:
        journal.commit()
        with sqlite3.connect(journal.path) as db:
            return db.execute("SELECT started, reason FROM jobs").fetchone()

    add(journal, "run/1")
    assert started() == (2.0, "why")
    journal.add_change("run/1", 1, "running", "ada", "it is silent", 9.0, None)
    assert started() == (2.0, "it is silent")
    journal.add_change("run/1", 1, "unreachable", "ada", "no route", 9.5, None)
    assert started() == (2.0, "no route")
    journal.add_change("run/1", 1, "running", "ada", "", 10.0, None)
    assert started() == (2.0, ""), "its node has come back"
    journal.add_change("run/1", 2, "queued", None, "lost", 10.5, None)
    assert started() == (None, "lost")
    journal.add_change("run/1", 2, "running", "bob", "", 11.0, None)
    assert started() == (11.0, "")
    journal.add_change("run/1", 2, "running", "bob", "adopted", 20.0, None)
    journal.set_start("run/1", 5.0)
    assert started() == (5.0, "adopted"), "an earlier controller has started it"
    journal.add_change("run/1", 2, "succeeded", "bob", "", 21.0, None)
    assert started() == (5.0, "")


def test_a_locked_database_costs_little_time(journal):
    other = lock(journal)
    begun = time.monotonic()
    for number in range(20):
        add(journal, f"run/{number}")
        journal.commit()
    assert time.monotonic() - begun < 5 * module.BUSY_S + 2
    other.execute("ROLLBACK")


def test_a_full_disk_is_no_error_and_what_came_meanwhile_is_there_afterwards(journal, warnings):
    add(journal, "run/0")
    journal.commit()
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count={pages}")  # SQLITE_FULL, as on a full disk
    for number in range(1, 400):
        add(journal, f"run/{number}")
    journal.commit()
    assert warnings and "full" in warnings[0]
    journal._db.execute("PRAGMA max_page_count=1000000")
    time.sleep(0.06)
    journal.commit()
    assert len(states(journal)) == 400


def test_there_is_another_warning_when_it_fails_again(journal, warnings):
    for _ in range(2):
        other = lock(journal)
        add(journal, f"run/{len(warnings)}")
        journal.commit()
        other.execute("ROLLBACK")
        time.sleep(0.06)
        journal.commit()
    assert len(warnings) == 2


def test_a_directory_that_is_gone_ends_nothing(journal):
    add(journal, "run/1")
    shutil.rmtree(journal.directory)
    journal.commit()
    add(journal, "run/2")
    journal.commit()


def test_closing_writes_what_is_left(journal, warnings):
    other = lock(journal)
    add(journal, "run/1")
    journal.commit()
    other.execute("ROLLBACK")
    journal.close()
    assert states(journal) == {"run/1": "running"}


def test_closing_a_journal_that_cannot_be_written_raises_nothing(tmp_path, monkeypatch, warnings):
    monkeypatch.setattr(module, "runs_directory", lambda: tmp_path)
    one = Journal("other", warnings.append)
    other = lock(one)
    add(one, "run/1")
    one.close()
    other.close()
    assert warnings


def test_one_that_cannot_be_opened_is_an_error_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "runs_directory", lambda: tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/journal.sqlite").mkdir()
    with pytest.raises(HarborError, match="cannot be written"):
        Journal("run")
