"""Waiting jobs that ask for the same resources: their order, and the nodes that can take the first of them."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .feasibility import Refusal
from .job import Job
from .model import Request
from .placement import Rank

JobRank = tuple[int, float, int, int]
"""The place of a job in the queue. The job with the lowest rank is the next one."""


@dataclass(eq=False)
class Offers:
    """The nodes that could take a job of one class, best first.

    The heap may hold several offers of one node. The offer whose number is in `current` is the valid one. The others
    are outdated, and `best` removes them when they reach the top.
    """

    heap: list[tuple[Rank, int, str]] = field(default_factory=list)
    current: dict[str, int] = field(default_factory=dict)

    def add(self, node: str, rank: Rank, number: int) -> None:
        """Replace the node's offer by a new one. `number` is unique."""
        self.current[node] = number
        heapq.heappush(self.heap, (rank, number, node))

    def withdraw(self, node: str) -> None:
        """Remove the node's offer, if there is one."""
        self.current.pop(node, None)

    def best(self) -> tuple[Rank, str] | None:
        """Return the best valid offer, which stays in place."""
        while self.heap:
            rank, number, node = self.heap[0]
            if self.current.get(node) == number:
                return rank, node
            heapq.heappop(self.heap)
        return None


@dataclass(eq=False)
class JobClass:
    """Waiting jobs that ask for the same resources and avoid the same nodes.

    `lines` holds the jobs by priority and rule, because the order among rules changes while the run learns how long
    their jobs take. `impossible` are nodes that can never hold such a job. `short_of_disk` are nodes that lack nothing
    but space in the working directory.
    """

    number: int
    request: Request
    avoid: frozenset[str]
    refusal: Refusal
    count: int = 0
    lines: dict[tuple[int, str], list[tuple[int, int, int, "QueueEntry"]]] = field(default_factory=dict)
    offers: Offers = field(default_factory=Offers)
    impossible: set[str] = field(default_factory=set)
    short_of_disk: set[str] = field(default_factory=set)

    def add(self, job: Job, number: int) -> None:
        """Queue a job. `number` is unique."""
        entry = job.queue_entry = QueueEntry(job, self)
        job.refusal = self.refusal
        self.count += 1
        line = self.lines.setdefault((job.spec.priority, job.spec.rule), [])
        heapq.heappush(line, (-job.spec.depth, job.order, number, entry))

    def jobs(self) -> Iterator[Job]:
        """Return the jobs of the class, in no order."""
        return (entry.job for line in self.lines.values() for *_, entry in line if entry.valid)

    def first(self, rank: Callable[[Job], JobRank]) -> Job | None:
        """Return the job with the lowest rank."""
        best: Job | None = None
        best_rank: JobRank | None = None
        for key, line in list(self.lines.items()):
            while line and not line[0][3].valid:
                heapq.heappop(line)
            if not line:
                del self.lines[key]
                continue
            job = line[0][3].job
            job_rank = rank(job)
            if best_rank is None or job_rank < best_rank:
                best, best_rank = job, job_rank
        return best

    def forget_node(self, name: str) -> None:
        """Drop everything about a node that has left the pool."""
        self.impossible.discard(name)
        self.short_of_disk.discard(name)
        self.offers.withdraw(name)


@dataclass(eq=False)
class QueueEntry:
    """The entry of a job in its class. A job that leaves the queue and returns gets a new entry."""

    job: Job
    job_class: JobClass

    @property
    def valid(self) -> bool:
        return self.job.queue_entry is self
