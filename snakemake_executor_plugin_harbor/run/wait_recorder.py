"""Why jobs wait, for the journal: once per group of jobs that wait for the same, however many they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.job import Job
from ..core.model import JobId
from ..core.placement import NodeReason, list_reasons
from ..core.waiting import WaitingQueue
from ..store.journal_writer import Journal

WORK = 5_000
"""How many nodes are asked for their reasons in one beat: a beat delays decisions."""
AGAIN_BEATS = 5
"""A group's reasons are looked at again after this many beats."""
SHOWN = 12
"""Nodes that `harbor explain` lists one by one."""


@dataclass(frozen=True)
class WaitingJobs:
    """Jobs that wait for the same reasons, by node."""

    jobs: Iterable[Job]
    whys: Mapping[str, NodeReason]


class WaitRecorder:
    """Writes the reasons of waiting jobs into the journal. Used on the dispatcher's thread."""

    def __init__(self, waiting: WaitingQueue, journal: Journal) -> None:
        self._waiting = waiting
        self._journal = journal
        self._queued: set[JobId] = set()
        self._beat = 0
        self._seen: dict[int, int] = {}
        self._whys: dict[int, dict[str, NodeReason]] = {}
        self._texts: dict[int, str] = {}

    def queued(self, job: JobId) -> None:
        """A job came into the queue."""
        self._queued.add(job)

    def record(self, jobs: Mapping[JobId, Job], nodes: int) -> None:
        """Once a second: note which jobs belong to which group, and look at the reasons of some groups again."""
        self._beat += 1
        came = [jobs[id] for id in self._queued if id in jobs]
        # A job that is held back now comes into another group later.
        self._queued = {job.spec.id for job in self._waiting.held_back_jobs()}
        for job, number in self._waiting.group_numbers(came):
            self._journal.set_waiting(job.spec.id, number)
        groups = {group.number: group for group in self._waiting.groups()}
        for number in [number for number in self._seen if number not in groups]:
            del self._seen[number], self._whys[number], self._texts[number]
            self._journal.set_reasons(number, None)
        due = sorted(groups, key=lambda number: self._seen.get(number, 0))[: max(1, WORK // max(1, nodes))]
        for number in due:
            if self._beat - self._seen.get(number, -AGAIN_BEATS) < AGAIN_BEATS:
                continue
            self._seen[number] = self._beat
            whys = self._whys[number] = groups[number].whys()
            text = "; ".join(list_reasons(whys, SHOWN))
            if text != self._texts.get(number):
                self._texts[number] = text
                self._journal.set_reasons(number, text)

    def stuck(self, now: float) -> list[WaitingJobs] | None:
        """All waiting jobs with the reasons as last seen; None between two looks."""
        if self._beat % AGAIN_BEATS:
            return None
        groups = self._waiting.groups()
        return [WaitingJobs(group.jobs(), self._whys[group.number]) for group in groups if group.number in self._whys]
