"""What a run looks like from outside: the journal read as the public status object. Reads only."""

import json
import socket
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.lifecycle import ON_NODE, TERMINAL
from ..core.model import JobState
from ..core.progress import Progress, progress_of
from ..errors import HarborError
from .journal_writer import VERSION
from .workdir import read_lock

JOBS = "SELECT jobs.*, reasons.reason AS waiting FROM jobs LEFT JOIN reasons ON jobs.waits = reasons.number"
LAST_FAILED = 5
ENDED = {state.value for state in TERMINAL}


@dataclass(frozen=True)
class Reader:
    """An open journal of the working directory's run."""

    run: str
    path: Path
    db: sqlite3.Connection
    workdir: Path

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """The result as dicts."""
        try:
            cursor = self.db.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
        except sqlite3.Error as error:
            raise _unreadable(self.path, self.run, error) from error

    def facts(self) -> dict[str, Any]:
        """The run's own description."""
        return {row["key"]: json.loads(row["value"]) for row in self.rows("SELECT key, value FROM run")}


def open_run(workdir: Path) -> Reader:
    """The latest run of a working directory. HarborError if there was none, or its journal is elsewhere or gone."""
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
    return Reader(run, path, db, workdir)


def _unreadable(path: Path, run: str, error: Exception) -> HarborError:
    return HarborError(f"the journal {path} of run {run} cannot be read: {error}.")


def status(reader: Reader, whole: bool = True) -> dict[str, Any]:
    """The object that `harbor status --json` prints. Without `whole`, its jobs are those that a screen shows: what is
    on nodes, and the last that failed.
    """
    facts = reader.facts()
    counts = {row["state"]: row["n"] for row in reader.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")}
    if whole:
        rows = reader.rows(f"{JOBS} ORDER BY submitted, id")
    else:
        active = ", ".join(f"'{state}'" for state in ON_NODE)
        rows = reader.rows(f"{JOBS} WHERE state IN ({active}) ORDER BY submitted, id")
        failed = reader.rows(f"{JOBS} WHERE state = 'failed' ORDER BY submitted DESC, id DESC LIMIT {LAST_FAILED}")
        rows += reversed(failed)
    jobs = [_job(row) for row in rows]
    return {
        "run": reader.run,
        "state": _state(reader, facts, counts),
        "counts": counts,
        "jobs": jobs,
        "nodes": [_node(row) for row in reader.rows("SELECT * FROM nodes ORDER BY name")],
        "started": facts.get("started"),
        "ended": facts.get("ended"),
        "total": facts.get("total"),
        "eta_s": eta(facts, counts),
    }


def _state(reader: Reader, facts: dict[str, Any], counts: dict[str, int]) -> str:
    unfinished = any(count for state, count in counts.items() if state not in ENDED)
    if facts.get("state") == "detached" and unfinished:
        return "detached"
    if facts.get("state") != "running":
        return "ended"
    found = read_lock(reader.workdir / ".snakemake" / "harbor" / "lock")
    if found is not None and found[0].run == reader.run and found[0].alive(found[1]):
        return "running"
    return "detached" if unfinished else "ended"


def _job(row: dict[str, Any]) -> dict[str, Any]:
    progress = progress_of([row["done"], row["total"]]) if row["total"] else None
    return {
        "id": row["jobid"],
        "rule": row["rule"],
        "wildcards": json.loads(row["wildcards"] or "{}"),
        "state": row["state"],
        "node": row["node"],
        "attempt": row["attempt"],
        "progress": {"done": progress.done, "total": progress.total} if progress else None,
        "log": row["log"],
        "reason": reason_of(row),
        "threads": row["threads"],
        "submitted": row["submitted"],
        "started": row["started"],
        "ended": row["ended"],
    }


def reason_of(row: dict[str, Any]) -> str:
    """Why the job is where it is; of one that waits, why no node takes it."""
    return (row["state"] == JobState.QUEUED and row["waiting"]) or row["reason"] or ""


def _node(row: dict[str, Any]) -> dict[str, Any]:
    facts = json.loads(row["facts"] or "null") or {}
    load = json.loads(row["load"] or "null") or {}
    return {
        "name": row["name"],
        "state": row["state"],
        "cores": facts.get("cores"),
        "slots": facts.get("slots"),
        "busy": load.get("busy"),
        "ours": load.get("ours"),
        "mem_available_mb": load.get("mem_available_mb"),
        "running": row["running"] or 0,
        "reason": row["reason"] or "",
        "mem_mb": facts.get("mem_mb"),
        "gpus": facts.get("gpus") or [],
        "users": load.get("users") or [],
    }


def eta(facts: dict[str, Any], counts: dict[str, int]) -> float | None:
    """Seconds until all jobs of the workflow are done at the pace so far; None before the first has ended."""
    total, started = facts.get("total"), facts.get("started")
    done = counts.get("succeeded", 0)
    if not total or not started or not done or facts.get("ended"):
        return None
    return Progress(done, total).eta(time.time() - started)


def find_job(reader: Reader, text: str) -> dict[str, Any]:
    """The row of the job that the user names: its id, its log's name (12.1), an output's rule, or RUN/JOB."""
    rows = reader.rows(f"{JOBS} WHERE jobid = ? OR id = ?", text.split(".")[0], text)
    if not rows:
        rows = reader.rows(f"{JOBS} WHERE rule = ?", text)
    if not rows:
        raise HarborError(f"run {reader.run} has no job {text!r}.", "harbor status")
    if len(rows) > 1:
        ids = ", ".join(row["jobid"] for row in rows[:20])
        raise HarborError(f"{len(rows)} jobs of rule {text}: {ids}.", f"harbor log {rows[0]['jobid']}")
    return rows[0]
