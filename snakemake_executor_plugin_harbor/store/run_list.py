"""All runs of this user on this machine, from their summaries, and the one that a user names."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import HarborError
from . import run_directories
from .directory_id import read_id
from .journal_reader import ENDED, JournalReader, open_journal
from .run_directories import JOURNAL, SUMMARY, run_names
from .workdir import Owner

SHOWN = 10
LAST = "SELECT max(at) AS at FROM (SELECT max(at) AS at FROM events UNION ALL SELECT max(updated) FROM nodes)"


@dataclass(frozen=True)
class RunSummary:
    """What the summary of a run says. `directory` contains the journal, and `resolved` is the real path of `workdir`.

    `state` is "running", "ended", "cancelled", "failed" (before the first job), "detached", or "killed" if the
    controller has not written how the run ended. `counts` says how many jobs are in which state.
    """

    run: str
    directory: Path
    workdir: str
    resolved: str
    id: str
    state: str
    started: float | None
    ended: float | None
    total: int | None
    counts: Mapping[str, int]
    owner: Owner
    log_dir: str

    @property
    def is_running(self) -> bool:
        return self.state == "running"

    @property
    def is_unfinished(self) -> bool:
        """Return whether the run may have left jobs behind that the next run of the directory takes over."""
        left = any(number for state, number in self.counts.items() if state not in ENDED)
        return self.is_running or (self.state in ("killed", "detached") and left)

    @property
    def is_complete(self) -> bool:
        """Return whether all jobs have succeeded."""
        done = self.counts.get("succeeded", 0)
        return self.state == "ended" and done == sum(self.counts.values()) >= (self.total or 0)

    def is_of(self, resolved: str, id: str | None) -> bool:
        """Return whether it is a run of the working directory with this real path or this id."""
        return self.resolved == resolved or self.id == id


def read_summary(directory: Path) -> RunSummary | None:
    """Return the summary of a run, or None if there is none, because the run has not begun yet."""
    try:
        found = json.loads((directory / SUMMARY).read_bytes())
        owner = Owner(**found.pop("owner"))
        summary = RunSummary(directory=directory, owner=owner, **found)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return summary if summary.ended else _from_journal(summary)


def _from_journal(summary: RunSummary) -> RunSummary:
    """Return what the journal says about a run that goes on, or whose controller was killed."""
    journal = summary.directory / JOURNAL
    try:
        reader = open_journal(summary.run, journal, Path(summary.workdir))
        facts: dict[str, Any] = reader.facts()
        counts = {row["state"]: row["n"] for row in reader.rows("SELECT state, count(*) AS n FROM jobs GROUP BY state")}
        (last,) = reader.rows(LAST)
        reader.db.close()
    except HarborError:
        return replace(summary, state="killed")
    if facts.get("ended"):
        return replace(summary, state=facts["state"], ended=facts["ended"], counts=counts)
    alive = summary.owner.alive(last["at"] or summary.started or 0.0)
    if alive:
        return replace(summary, counts=counts)
    return replace(summary, state="killed", ended=last["at"] or summary.started, counts=counts)


def all_runs() -> list[RunSummary]:
    """Return all runs of this user whose journals are on this machine, the oldest first."""
    runs = run_directories.runs_directory()
    return [found for name in run_names(runs) if (found := read_summary(runs / name)) is not None]


def runs_of(workdir: Path) -> list[RunSummary]:
    """Return the runs of a working directory, the oldest first."""
    place = place_of(workdir)
    return [run for run in all_runs() if run.is_of(*place)]


def place_of(workdir: Path) -> tuple[str, str | None]:
    """Return the real path and the id of a working directory."""
    try:
        id = read_id(workdir / ".snakemake" / "harbor")
    except OSError:
        id = None
    return os.path.realpath(workdir), id


def open_named_run(text: str, workdir: Path) -> JournalReader:
    """Open the journal of the run whose name begins or ends with `text`. Runs of `workdir` come first.

    Raises HarborError if there is no such run, or more than one.
    """
    runs = run_directories.runs_directory()
    names = [name for name in run_names(runs) if text and (name.startswith(text) or name.endswith(text))]
    found = [run for name in names if (run := read_summary(runs / name)) is not None]
    place = place_of(workdir)
    found = [run for run in found if run.is_of(*place)] or found
    if not found:
        raise HarborError(
            f"no run on this machine has a name that begins or ends with {text!r}.", "harbor history --all"
        )
    if len(found) > 1:
        shown = ", ".join(run.run for run in found[-SHOWN:])
        more = f"{len(found) - SHOWN} more, " if len(found) > SHOWN else ""
        raise HarborError(f"{len(found)} runs have such a name: {more}{shown}.", f"--run {found[-1].run}")
    (run,) = found
    return open_journal(run.run, run.directory / JOURNAL, Path(run.workdir))
