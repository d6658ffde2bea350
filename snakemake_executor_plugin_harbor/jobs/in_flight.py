"""The jobs that Snakemake has handed over and whose end it does not know yet, and the numbers that they get."""

import contextlib
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.model import JobState, Outcome, Request
from ..snakemake_internals import job as internals
from .command import Command
from .staging import StagedAttempt


@dataclass
class InFlightJob:
    """One job that Snakemake handed over.

    `command` is set if a Snakemake on the node runs the job. `logged` says that Snakemake has printed the job, and
    `prepared` that its files were prepared for an attempt. `preparing` says that an attempt is being prepared now, and
    `step` in words what that is doing. `step` is None while Snakemake prepares files. `staged` holds the attempts whose
    files are sent to their node and fetched, by number. `fetched` is the number of the attempt whose files are here.
    `ids` are all ids under which the job is known here: an adopted job has two.
    """

    job: Any
    id: str
    hash: str
    command: Command | None
    proc_id: int | None = None
    log: str | None = None
    temp_files: tuple[str, ...] = ()
    logged: bool = False
    prepared: bool = False
    preparing: bool = False
    step: str | None = None
    staged: dict[int, StagedAttempt] = field(default_factory=dict)
    fetched: int = 0
    request: Request = field(default_factory=Request)
    ids: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return internals.name(self.job)

    @property
    def number(self) -> str:
        return internals.number(self.job)

    @property
    def wildcards(self) -> dict[str, str]:
        return internals.wildcards(self.job)

    def undo_preparation(self, workflow: Any) -> None:
        """Reset the job's files if an attempt was prepared and its start message was never sent."""
        if self.prepared and (self.command is None or self.staged):
            self.prepared = False
            internals.undo_preparation(workflow, self.job)

    def remove_temp_files(self) -> None:
        """Remove the files that were made for the job's command."""
        for path in self.temp_files:
            target = Path(path)
            with contextlib.suppress(OSError):
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink()


class InFlight:
    """All jobs in flight, by id. Snakemake's thread adds, threads that prepare read, the report thread removes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, InFlightJob] = {}
        self._proc_ids: set[int] = set()
        self._attempts: dict[str, int] = {}
        self._failed_on: dict[str, frozenset[str]] = {}
        self._requested: dict[Request, int] = {}
        self._printed: set[str] = set()

    def get(self, id: str) -> InFlightJob | None:
        return self._entries.get(id)

    def next_attempt(self, id: str) -> int:
        """The number of a job's next attempt. Snakemake may hand the job over again after a failure."""
        return self._attempts.pop(id, 0) + 1

    def goes_on(self, entry: InFlightJob) -> None:
        """Note that the group of a job that was removed is handed over again. Snakemake does not print it again."""
        self._printed.add(entry.number)

    def is_printed(self, job: Any) -> bool:
        """Return True, once, if the job is a group that goes on."""
        number = internals.number(job)
        known = number in self._printed
        self._printed.discard(number)
        return known

    def failed_on(self, job: Any) -> frozenset[str]:
        """The nodes on which the job has failed in this run. Snakemake's next try (`--retries`) avoids them."""
        return self._failed_on.get(internals.number(job), frozenset())

    def add(self, entry: InFlightJob) -> None:
        with self._lock:
            self._entries[entry.id] = entry
            entry.ids.append(entry.id)
            self._requested[entry.request] = self._requested.get(entry.request, 0) + entry.request.cores

    def assign_proc_id(self, entry: InFlightJob, wanted: int | None = None) -> int:
        """The job's HARBOR_PROC_ID. It is the lowest free number, or `wanted`, which the job had in an earlier run."""
        with self._lock:
            if entry.proc_id is None:
                free = next(i for i in range(len(self._proc_ids) + 1) if i not in self._proc_ids)
                entry.proc_id = free if wanted is None else wanted
                self._proc_ids.add(entry.proc_id)
            return entry.proc_id

    def rename(self, entry: InFlightJob, id: str) -> None:
        """Give an adopted job the id of its earlier run. Its other id stays valid for events that are on their way."""
        with self._lock:
            entry.id = id
            entry.ids.append(id)
            self._entries[id] = entry

    def remove(self, entry: InFlightJob, outcome: Outcome | None = None, failed: bool = False) -> bool:
        """Remove a job before its end is reported to Snakemake. `failed` says what will be reported, because a job may
        have failed although its command succeeded.

        Return False if another thread was first: only one thread may report a job's end.
        """
        with self._lock:
            if entry.id not in self._entries:
                return False
            for id in entry.ids:
                if self._entries.get(id) is entry:
                    del self._entries[id]
            entry.ids.clear()
            self._requested[entry.request] -= entry.request.cores
            if not self._requested[entry.request]:
                del self._requested[entry.request]
            self._proc_ids.discard(-1 if entry.proc_id is None else entry.proc_id)
        if outcome is None or (outcome.state == JobState.SUCCEEDED and not failed):
            self._failed_on.pop(entry.number, None)
            return True
        self._attempts[entry.id] = outcome.attempt
        if failed and outcome.exit is not None and outcome.node is not None:
            self._failed_on[entry.number] = self.failed_on(entry.job) | {outcome.node}
        return True

    def requested_cores(self) -> dict[Request, int]:
        """The sum of cores over all jobs in flight, by request."""
        with self._lock:
            return dict(self._requested)

    def all(self) -> list[InFlightJob]:
        """Each job once."""
        with self._lock:
            return list({id(entry): entry for entry in self._entries.values()}.values())
