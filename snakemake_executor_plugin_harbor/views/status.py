"""The object of `harbor status --json`: the state of a run, of its jobs and of its nodes."""

import json
import time
from collections.abc import Sequence
from typing import Any

from ..core.job import STALLED
from ..core.lifecycle import ON_NODE
from ..core.model import BY_USER, JobState
from ..core.progress import Progress, progress_of
from ..store.journal_reader import ENDED, JOBS, JournalReader, reason_of
from ..store.workdir import read_lock
from .find_jobs import find_jobs

LAST_FAILED = 5
IDS_MAX = 900
"""Older versions of SQLite take at most 999 values in a query."""


def status(reader: JournalReader, whole: bool = True, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the object that `harbor status --json` prints.

    With `names`, it contains only the jobs that have one of these names. Without `whole`, it contains only the jobs
    that a screen shows: those on nodes, and the last ones that failed or that the user has cancelled.
    """
    facts = reader.facts()
    counts = {row["state"]: row["n"] for row in reader.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")}
    if names:
        rows = list({row["id"]: row for name in names for row in find_jobs(reader, name)}.values())
    elif whole:
        rows = reader.rows(f"{JOBS} ORDER BY submitted, id")
    else:
        active = ", ".join(f"'{state}'" for state in ON_NODE)
        rows = reader.rows(f"{JOBS} WHERE state IN ({active}) ORDER BY submitted, id")
        bad = f"(state = 'failed' OR (state = 'cancelled' AND jobs.reason = '{BY_USER}'))"
        failed = reader.rows(f"{JOBS} WHERE {bad} ORDER BY submitted DESC, id DESC LIMIT {LAST_FAILED}")
        rows += reversed(failed)
    jobs = [_job(row) for row in rows]
    state = _state(reader, facts, counts)
    nodes = [_node(row) for row in reader.rows("SELECT * FROM nodes ORDER BY name")]
    numbers = _numbers(reader, [transfer["job"] for node in nodes for transfer in node["transfers"]])
    for node in nodes:
        # A run that is killed leaves those of its last second.
        transfers = node["transfers"] if state == "running" else []
        node["transfers"] = [{**one, "job": numbers.get(one["job"], one["job"])} for one in transfers]
    if state == "ended":
        # The rows of nodes are written once per second, so they may be older than the last jobs.
        for node in nodes:
            node["running"] = 0
    return {
        "run": reader.run,
        "state": state,
        "counts": counts,
        "jobs": jobs,
        "nodes": nodes,
        "started": facts.get("started"),
        "ended": facts.get("ended"),
        "total": facts.get("total"),
        "eta_s": eta(facts, counts),
    }


def _numbers(reader: JournalReader, ids: Sequence[str]) -> dict[str, str]:
    """Return the numbers that users see of these jobs, by id."""
    ids = ids[:IDS_MAX]
    marks = ", ".join("?" * len(ids))
    return {row["id"]: row["jobid"] for row in reader.rows(f"SELECT id, jobid FROM jobs WHERE id IN ({marks})", *ids)}


def _state(reader: JournalReader, facts: dict[str, Any], counts: dict[str, int]) -> str:
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
        "stalled": row["state"] == JobState.RUNNING and (row["reason"] or "").startswith(STALLED),
        "threads": row["threads"],
        "submitted": row["submitted"],
        "started": row["started"],
        "ended": row["ended"],
    }


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
        "transfers": load.get("transfers") or [],
    }


def transfer_text(transfer: dict[str, Any]) -> str:
    """Return how far a transfer of files is, without the node."""
    done, total = transfer["done"] / 1e6, transfer["total"]
    if transfer["way"] == "from":
        return f"files are fetched: {done:.0f} MB so far"
    return f"files are sent: {done:.0f} of {total / 1e6:.0f} MB" if total is not None else "files are compared"


def eta(facts: dict[str, Any], counts: dict[str, int]) -> float | None:
    """Return the seconds until all jobs are done at the pace so far, or None before the first job has ended."""
    total, started = facts.get("total"), facts.get("started")
    done = counts.get("succeeded", 0)
    if not total or not started or not done or facts.get("ended"):
        return None
    return Progress(done, total).eta(time.time() - started)
