"""Reads the journal of the run that a working directory points to."""

import json
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.lifecycle import TERMINAL
from ..core.model import JobState
from ..errors import HarborError
from .journal_writer import VERSION

JOBS = "SELECT jobs.*, reasons.reason AS waiting FROM jobs LEFT JOIN reasons ON jobs.waits = reasons.number"
ENDED = {state.value for state in TERMINAL}
FAILED = {JobState.FAILED.value, JobState.CANCELLED.value}


@dataclass(frozen=True)
class JournalReader:
    """An open journal. `workdir` is the working directory of its run."""

    run: str
    path: Path
    db: sqlite3.Connection
    workdir: Path

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Return the result of a query as dicts."""
        try:
            cursor = self.db.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            raise _unreadable(self.path, self.run, error) from error

    def facts(self) -> dict[str, Any]:
        """Return the facts of the run."""
        return {row["key"]: json.loads(row["value"]) for row in self.rows("SELECT key, value FROM run")}


def open_run(workdir: Path) -> JournalReader:
    """Open the journal of a working directory's latest run.

    Raises HarborError if there was no run, or if its journal is on another machine or deleted.
    """
    pointer = workdir / ".snakemake" / "harbor" / "run.json"
    try:
        found = json.loads(pointer.read_text())
        run, path, host = found["run"], Path(found["journal"]), found["host"]
    except FileNotFoundError:
        raise HarborError(
            f"no harbor run in {workdir.absolute()}.",
            "snakemake --executor harbor --jobs 100   # or change to the directory where you started it",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarborError(f"{pointer} cannot be read: {error}.") from error
    if host != socket.gethostname() and not path.exists():
        raise HarborError(f"the run {run} was started on {host}; its journal is there.", f"ssh {host}")
    return open_journal(run, path, workdir)


def open_journal(run: str, path: Path, workdir: Path) -> JournalReader:
    """Open the journal of a run of `workdir`. Raises HarborError if it was removed or cannot be read."""
    if not path.exists():
        raise HarborError(
            f"the journal of run {run} was removed, by `harbor clean` or because the run is old (--harbor-keep-runs).",
            "harbor history",
        )
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        db.execute("SELECT 1 FROM run LIMIT 1")
    except sqlite3.Error as error:
        raise _unreadable(path, run, error) from error
    if version != VERSION:
        raise HarborError(
            f"the journal {path} of run {run} is of another version of harbor ({version}, not {VERSION})."
        )
    return JournalReader(run, path, db, workdir)


def _unreadable(path: Path, run: str, error: Exception) -> HarborError:
    return HarborError(f"the journal {path} of run {run} cannot be read: {error}.")


def reason_of(row: dict[str, Any]) -> str:
    """Return why a job is in its state, or why it waits."""
    return (row["state"] == JobState.QUEUED and row["waiting"]) or row["reason"] or ""


def failed_cases(reader: JournalReader) -> list[dict[str, Any]]:
    """Return the jobs with a wildcard `case` whose latest try has failed or was cancelled.

    This is what the sweep workflow cannot know by itself (`workflow/scripts/partial_table.py`), for example why a job
    was ended. Ctrl-C cancels all jobs, but those that had not begun have not failed.
    """
    interrupted = reader.facts().get("state") == "cancelled"
    latest = {(row["rule"], row["wildcards"]): row for row in reader.rows("SELECT * FROM jobs ORDER BY submitted, id")}
    found = []
    for row in latest.values():
        case = json.loads(row["wildcards"] or "{}").get("case")
        withdrawn = interrupted and row["state"] == JobState.CANCELLED and not row["started"]
        if case is not None and row["state"] in FAILED and not withdrawn:
            known = {"rule": row["rule"], "case": case, "node": row["node"] or "", "log": row["log"] or ""}
            times = {"started": row["started"] or row["submitted"] or 0.0, "ended": row["ended"] or 0.0}
            found.append({**known, **times, "reason": row["reason"] or row["state"]})
    return found
