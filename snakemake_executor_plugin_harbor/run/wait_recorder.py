"""Records in the journal why jobs wait, once per group of jobs that wait for the same reasons."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.job import Job
from ..core.model import JobId
from ..core.node_reason import NodeReason, list_reasons
from ..core.waiting import WaitingQueue
from ..store.journal_writer import Journal

NODES_PER_SECOND = 5_000
"""So many nodes are asked for their reasons per second, because nothing is decided in the meantime."""
REFRESH_S = 5
"""The reasons of a group are looked up again after so many seconds."""
SHOWN = 12
"""The number of nodes that `harbor explain` lists one by one."""


@dataclass(frozen=True)
class WaitingJobs:
    """Jobs that wait for the same reasons, and the reason of each node."""

    jobs: Iterable[Job]
    reasons: Mapping[str, NodeReason]


class WaitRecorder:
    """Used on the dispatcher's thread. `record` is called once per second, so calls are counted instead of seconds.

    Groups have numbers. The reasons of a group are kept from one lookup to the next.
    """

    def __init__(self, waiting: WaitingQueue, journal: Journal) -> None:
        self._waiting = waiting
        self._journal = journal
        self._new: set[JobId] = set()
        self._calls = 0
        self._looked_up: dict[int, int] = {}
        self._reasons: dict[int, dict[str, NodeReason]] = {}
        self._texts: dict[int, str] = {}

    def add_waiting(self, job: JobId) -> None:
        """Note that a job came into the queue."""
        self._new.add(job)

    def record(self, jobs: Mapping[JobId, Job], nodes: int) -> None:
        """Record the groups of new jobs, and look the reasons of some groups up again. `nodes` is their number."""
        self._calls += 1
        new = [jobs[id] for id in self._new if id in jobs]
        # A job that is held back now is in another group later, so it stays among the new ones.
        self._new = {job.spec.id for job in self._waiting.held_back_jobs()}
        for job, number in self._waiting.group_numbers(new):
            self._journal.set_waiting(job.spec.id, number)
        groups = {group.number: group for group in self._waiting.groups()}
        for number in [number for number in self._looked_up if number not in groups]:
            del self._looked_up[number], self._reasons[number], self._texts[number]
            self._journal.set_reasons(number, None)
        oldest_first = sorted(groups, key=lambda number: self._looked_up.get(number, 0))
        for number in oldest_first[: max(1, NODES_PER_SECOND // max(1, nodes))]:
            if self._calls - self._looked_up.get(number, -REFRESH_S) < REFRESH_S:
                continue
            self._looked_up[number] = self._calls
            reasons = self._reasons[number] = groups[number].reasons()
            text = "; ".join(list_reasons(reasons, SHOWN))
            if text != self._texts.get(number):
                self._texts[number] = text
                self._journal.set_reasons(number, text)

    def waiting_jobs(self) -> list[WaitingJobs] | None:
        """Return all waiting jobs with their reasons every REFRESH_S seconds, and None at other times."""
        if self._calls % REFRESH_S:
            return None
        groups = self._waiting.groups()
        known = [group for group in groups if group.number in self._reasons]
        return [WaitingJobs(group.jobs(), self._reasons[group.number]) for group in known]
