"""Jobs between submission and Snakemake's verdict, and the numbers that are given to them."""

import threading
from dataclasses import dataclass, field
from typing import Any

from ..core.model import JobState, Outcome, Request
from .command import Command


@dataclass
class InFlightJob:
    """A job that Snakemake handed over. `logged`: it is in Snakemake's log; `prepared`: an attempt of it was.
    `ids` are all under which it is known here: an adopted job has two.

    `preparing`: an attempt is in preparation now; `step` says what that is at, None while Snakemake prepares files.
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
    request: Request = field(default_factory=Request)
    ids: list[str] = field(default_factory=list)

    @property
    def wildcards(self) -> dict[str, str]:
        """A group has none of its own."""
        return {} if self.job.is_group() else dict(self.job.wildcards_dict)


class InFlight:
    """All of them, by id. Snakemake's main thread adds, the launcher's looks, the reporter's removes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, InFlightJob] = {}
        self._proc_ids: set[int] = set()
        self._attempts: dict[str, int] = {}
        self._failed_on: dict[str, frozenset[str]] = {}
        self._requested: dict[Request, int] = {}

    def get(self, id: str) -> InFlightJob | None:
        return self._entries.get(id)

    def next_attempt(self, id: str) -> int:
        """The number of a job's next attempt: Snakemake may have had it before and tries it again."""
        return self._attempts.pop(id, 0) + 1

    def failed_on(self, job: Any) -> frozenset[str]:
        """The nodes where a job has failed in this run. Snakemake's next try (`--retries`) prefers others."""
        return self._failed_on.get(str(job.jobid), frozenset())

    def add(self, entry: InFlightJob) -> None:
        with self._lock:
            self._entries[entry.id] = entry
            entry.ids.append(entry.id)
            self._requested[entry.request] = self._requested.get(entry.request, 0) + entry.request.cores

    def assign_proc_id(self, entry: InFlightJob, wanted: int | None = None) -> int:
        """The entry's HARBOR_PROC_ID: the lowest that no other job has, or the one that it had in an earlier run."""
        with self._lock:
            if entry.proc_id is None:
                free = next(i for i in range(len(self._proc_ids) + 1) if i not in self._proc_ids)
                entry.proc_id = free if wanted is None else wanted
                self._proc_ids.add(entry.proc_id)
            return entry.proc_id

    def rename(self, entry: InFlightJob, id: str) -> None:
        """The job goes on under the id that an earlier run gave it. What is on its way still has the other one."""
        with self._lock:
            entry.id = id
            entry.ids.append(id)
            self._entries[id] = entry

    def remove(self, entry: InFlightJob, outcome: Outcome | None = None, failed: bool = False) -> bool:
        """False if somebody else was first: only one thread may tell Snakemake what became of a job.

        `failed`: Snakemake is told of a failure, even if the command ended well (its outputs are missing).
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
            self._failed_on.pop(str(entry.job.jobid), None)
            return True
        self._attempts[entry.id] = outcome.attempt
        if failed and outcome.exit is not None and outcome.node is not None:
            self._failed_on[str(entry.job.jobid)] = self.failed_on(entry.job) | {outcome.node}
        return True

    def requested_cores(self) -> dict[Request, int]:
        """The cores that all jobs of each request take together."""
        with self._lock:
            return dict(self._requested)

    def all(self) -> list[InFlightJob]:
        """Each once."""
        with self._lock:
            return list({id(entry): entry for entry in self._entries.values()}.values())
