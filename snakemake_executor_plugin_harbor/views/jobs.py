"""The objects of `harbor jobs --json`: one per job of a run, with what it has used."""

import json
from typing import Any

from ..store.journal_reader import JOBS, JournalReader, reason_of


def jobs(reader: JournalReader, failed: bool = False) -> list[dict[str, Any]]:
    """Return the jobs in the order in which Snakemake handed them over. `failed`: only those that failed."""
    where = "WHERE state = 'failed'" if failed else ""
    return [_job(row) for row in reader.rows(f"{JOBS} {where} ORDER BY submitted, length(jobid), jobid")]


def _job(row: dict[str, Any]) -> dict[str, Any]:
    submitted, started, ended = row["submitted"], row["started"], row["ended"]
    return {
        "id": row["jobid"],
        "rule": row["rule"],
        "wildcards": json.loads(row["wildcards"] or "{}"),
        "state": row["state"],
        "node": row["node"],
        "exit": row["code"],
        "attempts": row["attempt"],
        "submitted": submitted,
        "started": started,
        "ended": ended,
        "wait_s": _between(submitted, started),
        "duration_s": _between(started, ended),
        "cpu_s": row["cpu_s"],
        "peak_mb": row["peak_mb"],
        "threads": row["threads"],
        "log": row["log"],
        "reason": reason_of(row),
    }


def _between(begin: float | None, end: float | None) -> float | None:
    """Return the seconds between two times. A machine's clock may have been set back in between."""
    return None if begin is None or end is None else round(max(0.0, end - begin), 3)
