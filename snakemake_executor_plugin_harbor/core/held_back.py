"""Waiting jobs that may go to no node for now, because an attempt of an earlier run may still write their outputs."""

from collections.abc import Callable, Mapping

from .feasibility import Refusal
from .job import Job
from .model import JobState
from .node_reason import NodeReason

ReasonKinds = tuple[tuple[str, tuple[str, ...]], ...]
"""The reasons of a job by node, without the numbers in them."""


class HeldBackJobs:
    """The jobs that are held back, with their reasons by node. Jobs with the same reasons are one group."""

    def __init__(self, next_number: Callable[[], int]) -> None:
        self._held: dict[int, tuple[Job, dict[str, NodeReason]]] = {}
        self._numbers: dict[ReasonKinds, int] = {}
        self._next_number = next_number

    def __contains__(self, job: Job) -> bool:
        return job.order in self._held

    def __len__(self) -> int:
        return len(self._held)

    def add(self, job: Job, reasons: dict[str, NodeReason]) -> None:
        """Hold a job back for these reasons, which replace earlier ones."""
        self._held[job.order] = (job, reasons)
        job.refusal = Refusal({name: str(reason) for name, reason in reasons.items()})

    def remove(self, job: Job) -> None:
        """The job is not held back, or not any more."""
        self._held.pop(job.order, None)

    def jobs(self) -> list[Job]:
        return [job for job, _ in self._held.values()]

    def groups(self) -> list[tuple[int, list[Job], dict[str, NodeReason]]]:
        """Return the number, the jobs and the reasons of each group."""
        jobs: dict[ReasonKinds, list[Job]] = {}
        reasons_of: dict[ReasonKinds, dict[str, NodeReason]] = {}
        for job, reasons in self._held.values():
            if job.state == JobState.QUEUED and job.queue_entry is None:
                kinds = _kinds(reasons)
                jobs.setdefault(kinds, []).append(job)
                reasons_of[kinds] = reasons
        return [(self._number(kinds), members, reasons_of[kinds]) for kinds, members in jobs.items()]

    def group_number(self, job: Job) -> int:
        """Return the number of the group of a job that is held back."""
        return self._number(_kinds(self._held[job.order][1]))

    def _number(self, kinds: ReasonKinds) -> int:
        if kinds not in self._numbers:
            self._numbers[kinds] = self._next_number()
        return self._numbers[kinds]


def _kinds(reasons: Mapping[str, NodeReason]) -> ReasonKinds:
    return tuple(sorted((name, reason.kind) for name, reason in reasons.items()))
