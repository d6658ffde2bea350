"""The jobs of a run by the names that users give them."""

import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from ..core.job_names import (
    NamedJob,
    are_one_case,
    full_name,
    last_begun,
    listing,
    matching,
    suggestions,
    with_name,
    with_number,
)
from ..errors import HarborError
from ..store.control_socket import ask
from ..store.journal_reader import JOBS, JournalReader

Row = dict[str, Any]
SHOWN = 5
"""An error names at most this many jobs."""


def named(row: Row) -> NamedJob:
    """Return what the names of a job are made of."""
    wildcards = json.loads(row["wildcards"] or "{}")
    others = tuple(json.loads(row["others"] or "[]"))
    return NamedJob(row["jobid"], row["rule"], wildcards, row["state"], row["id"], row["started"], others)


def find_jobs(reader: JournalReader, name: str) -> list[Row]:
    """Return the rows of the jobs that have this name, in the order of their submission.

    Raises HarborError if there is none, with the names that the user may have meant.
    """
    rows = reader.rows(f"{JOBS} ORDER BY submitted, id")
    jobs = [named(row) for row in rows]
    found = {job.id for job in matching(jobs, name)}
    if not found:
        raise _no_such_job(reader, jobs, name)
    # A job that was adopted and then retried has two rows. The later one counts.
    return list({row["jobid"]: row for row in rows if row["id"] in found}.values())


def find_case(reader: JournalReader, name: str, command: str) -> list[Row]:
    """Return the rows of the steps of the one case that has this name.

    Raises HarborError if there is none, or if the name is that of several cases. `command` is what the user has typed.
    """
    rows = find_jobs(reader, name)
    jobs = [named(row) for row in rows]
    if not are_one_case(jobs):
        raise ambiguous(jobs, name, command)
    return rows


def latest_step(rows: Sequence[Row]) -> Row:
    """Return the row of the step that has begun last."""
    wanted = last_begun([named(row) for row in rows]).id
    return next(row for row in rows if row["id"] == wanted)


def cases_called(reader: JournalReader, name: str) -> list[str]:
    """Return full names of jobs whose case is called like the number of another job."""
    jobs = [named(row) for row in reader.rows(f"{JOBS} ORDER BY submitted, id")]
    return [full_name(job) for job in with_name(jobs, name)] if with_number(jobs, name) else []


def ambiguous(jobs: Sequence[NamedJob], name: str, command: str) -> HarborError:
    """The error for a name that several cases have. It lists their jobs."""
    return HarborError(
        f"{len(jobs)} jobs have the name {name!r}:\n{listing(jobs)}", f"{command} {shlex.quote(full_name(jobs[-1]))}"
    )


def _no_such_job(reader: JournalReader, jobs: Iterable[NamedJob], name: str) -> HarborError:
    later, meant = _ask_controller(reader, name)
    if later:
        shown = ", ".join(later[:SHOWN]) + (", ..." if len(later) > SHOWN else "")
        return HarborError(
            f"Snakemake has not handed over {shown} yet. It waits for inputs, or for room in harbor's queue.",
            "harbor status",
        )
    meant = suggestions(jobs, name) or meant
    did_you_mean = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return HarborError(f"run {reader.run} has no job {name!r}.{did_you_mean}", "harbor status --json")


def _ask_controller(reader: JournalReader, name: str) -> tuple[list[str], list[str]]:
    """Return what the running controller knows: jobs with this name that are not in the journal yet, and other names
    that the user may have meant.
    """
    try:
        answer = ask(reader.path.parent, {"op": "find", "name": name})
    except HarborError:
        return [], []
    return answer["jobs"], answer["meant"]
