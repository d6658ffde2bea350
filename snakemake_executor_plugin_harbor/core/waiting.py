"""The queue of waiting jobs, and the decision which of them start now.

The decisions are the same as those of a simple pass over the whole queue. In such a pass, each job in turn takes its
best node (`placement.place`). After that, jobs that no other node takes now may go to nodes that failed them before.

Such a pass would be slow in a large pool, so the queue never visits all jobs or all nodes. Jobs with the same request
form one `JobClass`. A class keeps the offers of all nodes that could take its first job, best first. An event names the
nodes that it changes, and only these nodes are asked again, once per class.

An offer that is kept may be too good, because the node was filled since. So each offer is checked again before it is
used. An offer is never too bad, because every event that improves a node names that node.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

from .feasibility import Refusal, permanent_refusal
from .held_back import HeldBackJobs
from .job import Job
from .job_class import JobClass, QueueEntry
from .job_classes import JobClasses
from .model import JobState
from .node import NodeView
from .node_cache import NodeCache
from .node_reason import NodeReason
from .placement import Placement, placement_on
from .policy import Policy
from .progress import RuleDurations

SHUN_S = 5.0
"""A job waits this long for a ready node other than those that failed it before, if there is one."""


@dataclass(frozen=True)
class WaitingGroup:
    """Jobs that wait for the same reasons. `reasons` computes these, by node."""

    number: int
    jobs: Callable[[], Iterable[Job]]
    reasons: Callable[[], dict[str, NodeReason]]


class WaitingQueue:
    """All waiting jobs. The pool owns `nodes` and `durations`, and tells the queue what has changed.

    `held_back` returns the reasons, by node, for which a job may go to no node for now, or None.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeView],
        policy: Policy,
        durations: RuleDurations,
        held_back: Callable[[Job, float], dict[str, NodeReason] | None],
    ) -> None:
        self.version = 0
        """Grows when anything about any node changes, except its load."""
        self._nodes = nodes
        self._policy = policy
        self._reasons_to_hold = held_back
        next_number = partial(next, count(1))
        self._cache = NodeCache(nodes, policy)
        self._classes = JobClasses(nodes, policy, durations, self._cache, next_number)
        self._held = HeldBackJobs(next_number)
        self._new_jobs: list[Job] = []
        self._changed: set[str] = set()
        self._load_changed: set[str] = set()
        self._all_changed = False
        self._recheck_held = False
        self._now = 0.0
        self._hour: int | None = None

    @property
    def asked(self) -> int:
        """The number of questions to nodes whether they can take a job. It measures the work of the queue."""
        return self._classes.asked

    # --- what has changed -------------------------------------------------------------------------------------

    def job_changed(self, job: Job) -> None:
        """A job has entered another state."""
        if job.state == JobState.QUEUED:
            self._new_jobs.append(job)
        elif isinstance(job.queue_entry, QueueEntry):
            self._classes.remove(job.queue_entry)

    def node_changed(self, name: str) -> None:
        """Something about a node has changed besides its load."""
        self._changed.add(name)

    def load_changed(self, name: str) -> None:
        """A node has sent a load sample, or a job has ended there."""
        self._load_changed.add(name)

    def host_list_changed(self) -> None:
        """Any node may have changed."""
        self._all_changed = True

    def recheck_held_back(self) -> None:
        """The reasons of jobs that are held back may have ended."""
        self._recheck_held = True

    def time_passed(self, hour: int | None) -> None:
        """Time has passed. Jobs that are held back are checked again, because some wait for a time."""
        self._recheck_held = True
        if hour != self._hour:
            self._hour = hour
            self._load_changed.update(name for name, node in self._nodes.items() if node.spec.hours is not None)

    # --- decisions ----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Iterator[tuple[Job, Placement | Refusal]]:
        """Return the decisions about waiting jobs, one after the other. The caller has to carry out each decision
        before it asks for the next one. Every refusal is permanent.
        """
        self._now = now
        self._cache.start_round(now, self._hour)
        may_start = self._apply_node_changes()
        may_start.update(self._queue_new_jobs())
        for job_class in [c for c in may_start.values() if c.count and len(c.impossible) >= len(self._nodes)]:
            refusal = permanent_refusal(job_class.request, self._nodes, self._policy)
            if refusal is not None:
                for job in sorted(job_class.jobs(), key=self._classes.rank):
                    yield job, refusal
        yield from self._place_jobs(may_start.values(), last_choice=False)
        yield from self._place_jobs(self._classes.with_avoided_offers_only(), last_choice=True)
        self._classes.remove_empty()

    def _place_jobs(self, classes: Iterable[JobClass], last_choice: bool) -> Iterator[tuple[Job, Placement]]:
        """Place jobs of these classes in the order of the queue, until no first job of a class finds a node."""
        rank = self._classes.rank
        heads = [(rank(job), c.number, c, job) for c in classes if (job := c.first(rank)) is not None]
        heapq.heapify(heads)
        while heads:
            _, _, job_class, job = heapq.heappop(heads)
            if self._hold_back(job):
                assert isinstance(job.queue_entry, QueueEntry)
                self._classes.remove(job.queue_entry)
            else:
                if last_choice and not self._may_return(job_class, job):
                    continue
                offer = self._classes.best_offer(job_class, last_choice)
                if offer is None:
                    continue
                (avoided, *_), name = offer
                node = self._nodes[name]
                possible = len(self._nodes) - len(job_class.impossible)
                yield job, placement_on(node, job_class.request, self._cache.free(name), avoided, possible)
                self._cache.reservations_changed(node)
                self._classes.update_offer(job_class, name)
            if (head := job_class.first(rank)) is not None:
                heapq.heappush(heads, (rank(head), job_class.number, job_class, head))

    def _may_return(self, job_class: JobClass, job: Job) -> bool:
        """Return whether the job may go to a node that failed it before."""
        if self._now - job.since >= SHUN_S:
            return True
        return not self._cache.usable - job_class.avoid - job_class.impossible

    def _hold_back(self, job: Job) -> bool:
        """Hold the job back if it may go to no node for now."""
        reasons = self._reasons_to_hold(job, self._now)
        if reasons is None:
            return False
        self._held.add(job, reasons)
        return True

    # --- changes since the last round ---------------------------------------------------------------------------

    def _apply_node_changes(self) -> dict[int, JobClass]:
        """Ask the nodes that have changed. Return the classes that may start a job now, by number."""
        changed = self._changed | set(self._nodes) if self._all_changed else self._changed
        load_changed = self._load_changed
        self._changed, self._load_changed, self._all_changed = set(), set(), False
        if changed:
            self.version += 1
            self._recheck_held = True
        for name in changed:
            self._cache.update_machine(name)
        load_changed.update(self._cache.due_alarms())
        promised_before = self._cache.promised_disk_mb
        nodes = self._with_peers(changed | load_changed)
        for node in nodes.values():
            self._cache.reservations_changed(node)
        may_start: dict[int, JobClass] = {}
        for name, node in nodes.items():
            self._cache.update_usable(name, node)
            only_load = name not in changed
            free = self._cache.free(name)
            if not (only_load and (free.closed is not None or free.slots <= 0)):
                for job_class in self._classes.node_changed(name, node, only_load=only_load):
                    may_start[job_class.number] = job_class
        if self._cache.promised_disk_mb < promised_before:
            may_start.update((c.number, c) for c in self._classes.disk_space_freed())
        if changed:  # A node that has left may have been the last one that could hold some job.
            may_start.update((c.number, c) for c in self._classes)
        return may_start

    def _with_peers(self, names: Iterable[str]) -> dict[str, NodeView]:
        """Return these nodes and all nodes that are the same computers, by name. Forget those that have left."""
        nodes = {}
        for name in names:
            node = self._nodes.get(name)
            if node is None:
                self._cache.remove(name)
                self._classes.forget_node(name)
                continue
            for peer in self._cache.peers(node):
                nodes[peer.spec.name] = peer
        return nodes

    def _queue_new_jobs(self) -> dict[int, JobClass]:
        """Queue the jobs that are new or not held back any more. Return their classes, by number."""
        jobs, self._new_jobs = self._new_jobs, []
        if self._recheck_held:
            jobs += self._held.jobs()
        self._recheck_held = False
        classes: dict[int, JobClass] = {}
        for job in jobs:
            if job.state != JobState.QUEUED or job.queue_entry is not None:
                self._held.remove(job)
            elif not self._hold_back(job):
                self._held.remove(job)
                job_class = self._classes.add(job)
                classes[job_class.number] = job_class
        return classes

    # --- questions ----------------------------------------------------------------------------------------------

    def queue(self) -> list[Job]:
        """Return all waiting jobs, the next one first. This sorts all of them, so it is slow."""
        queued = [job for job_class in self._classes for job in job_class.jobs()]
        queued += [job for job in self._held.jobs() if job.state == JobState.QUEUED]
        return sorted(queued, key=self._classes.rank)

    def held_back_jobs(self) -> list[Job]:
        """Return the jobs that may go to no node for now."""
        return self._held.jobs()

    def groups(self) -> list[WaitingGroup]:
        """Return all waiting jobs, grouped by their reasons."""
        groups = [
            WaitingGroup(c.number, c.jobs, partial(self._classes.reasons, c.request, c.avoid))
            for c in self._classes
            if c.count
        ]
        for number, jobs, reasons in self._held.groups():
            groups.append(WaitingGroup(number, partial(list, jobs), partial(dict, reasons)))
        return groups

    def group_numbers(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, int]]:
        """Return those of the jobs that wait, each with the number of its group."""
        for job in jobs:
            if job.state != JobState.QUEUED:
                continue
            if isinstance(job.queue_entry, QueueEntry):
                yield job, job.queue_entry.job_class.number
            elif job in self._held:
                yield job, self._held.group_number(job)
