"""The jobs that wait, and the choice of which of them start now.

The decisions are those of a simple pass over the whole queue: each job in turn takes its best node (`placement.place`),
and then jobs that no other node takes now may go to nodes that failed them before. But no pass over all jobs or all
nodes is made. Jobs that ask for the same are one `JobClass`. It remembers which nodes could take its first job, best
first. An event names the nodes that it changes, and only these are asked again, once per JobClass.

What is remembered may be too good (a node has been filled meanwhile), so it is looked at again before it is used. It is
never too bad: whatever makes a node better marks that node.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .job import Job
from .model import JobState, NodeState, Request
from .node import NodeView
from .placement import (
    SHUNNED,
    STARVATION_S,
    FreeResources,
    NodeReason,
    Placement,
    Policy,
    Rank,
    Refusal,
    free_resources,
    permanent_reason,
    permanent_refusal,
    placement,
    rank_of,
    temporary_reason,
)
from .progress import RuleDurations

SHUN_S = 5.0
"""How long a job waits for another node than one that failed it before, if there is another one that is ready."""


@dataclass(eq=False)
class JobClass:
    """Waiting jobs that ask for the same and avoid the same nodes.

    `lines` holds them by priority and rule, since the order among rules changes while the run learns how long they
    take. `offers` are nodes that could take one, with the number of the offer in `valid`; other offers are old.
    `short` are nodes that lack nothing but space in the working directory.
    """

    number: int
    request: Request
    avoid: frozenset[str]
    refusal: Refusal
    count: int = 0
    lines: dict[tuple[int, str], list[tuple[int, int, int, "QueueEntry"]]] = field(default_factory=dict)
    offers: list[tuple[Rank, int, str]] = field(default_factory=list)
    valid: dict[str, int] = field(default_factory=dict)
    impossible: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)

    def jobs(self) -> Iterator[Job]:
        """All of them, in no order."""
        return (queue_entry.job for line in self.lines.values() for *_, queue_entry in line if queue_entry.valid)


@dataclass(eq=False)
class QueueEntry:
    """One job's place in the queue. A job that leaves the queue and comes back gets another one."""

    job: Job
    kind: JobClass

    @property
    def valid(self) -> bool:
        return self.job.queue_entry is self


BackKey = tuple[tuple[str, tuple[str, ...]], ...]
"""The reasons of jobs that are held back, without numbers."""


@dataclass(frozen=True)
class WaitingGroup:
    """Jobs that wait for the same reasons; `whys` makes these, by node."""

    number: int
    jobs: Callable[[], Iterable[Job]]
    whys: Callable[[], dict[str, NodeReason]]


class _Reasons(Mapping[str, str]):
    """Each node's reason at the moment of reading."""

    def __init__(self, whys: Callable[[], dict[str, NodeReason]]) -> None:
        self._whys = whys

    def __getitem__(self, name: str) -> str:
        return str(self._whys()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._whys())

    def __len__(self) -> int:
        return len(self._whys())


class WaitingQueue:
    """All waiting jobs. `nodes` and `durations` are the pool's; the pool says what has changed. `held_back` says why a
    job may go to no node at all for now, by node, or None.
    """

    def __init__(
        self,
        nodes: Mapping[str, NodeView],
        policy: Policy,
        durations: RuleDurations,
        held_back: Callable[[Job, float], dict[str, NodeReason] | None],
    ) -> None:
        self._nodes = nodes
        self._why_held_back = held_back
        self._policy = policy
        self._durations = durations
        self._kinds: dict[tuple[Request, frozenset[str]], JobClass] = {}
        self._empty: list[JobClass] = []
        self._back: dict[int, tuple[Job, dict[str, NodeReason]]] = {}
        self._back_numbers: dict[BackKey, int] = {}
        self._fresh: list[Job] = []
        self._changed: set[str] = set()
        self._loaded: set[str] = set()
        self._all = False
        self._look_back = False
        self._rooms: dict[str, FreeResources] = {}
        self._peers: dict[str, list[NodeView]] = {}
        self._boots: dict[str, str] = {}
        self._open: set[str] = set()
        self._disk: dict[str, int] = {}
        self._promised = 0
        self._alarms: list[tuple[float, str]] = []
        self._alarm: dict[str, float] = {}
        self._shy: dict[int, JobClass] = {}
        self._now = 0.0
        self._hour: int | None = None
        self._count = 0
        self.version = 0
        """Changes when anything about any node does, but its load."""
        self.asked = 0
        """How many times a node was asked whether it can take a job: the measure of the work done."""

    # --- what has changed -------------------------------------------------------------------------------------

    def job_changed(self, job: Job) -> None:
        """A job came into another state."""
        if job.state == JobState.QUEUED:
            self._fresh.append(job)
        elif isinstance(job.queue_entry, QueueEntry):
            self._leave(job.queue_entry.kind, job)

    def node_changed(self, name: str) -> None:
        """Anything about a node, but its load, may be another one."""
        self._changed.add(name)

    def load_changed(self, name: str) -> None:
        """A node was measured, or a job there has ended."""
        self._loaded.add(name)

    def everything_changed(self) -> None:
        """The host list is another one."""
        self._all = True

    def look_back(self) -> None:
        """Jobs that are held back may not have to wait any longer."""
        self._look_back = True

    def time_passed(self, hour: int | None) -> None:
        """A tick. Also look again at jobs that are held back."""
        self._look_back = True
        if hour != self._hour:
            self._hour = hour
            self._loaded.update(name for name, node in self._nodes.items() if node.spec.hours is not None)

    # --- decisions ----------------------------------------------------------------------------------------------

    def decide(self, now: float) -> Iterator[tuple[Job, Placement | Refusal]]:
        """What happens to waiting jobs now, one after the other. The caller carries out each decision before it asks
        for the next one. Refusals are for ever.
        """
        self._now = now
        self._rooms.clear()
        touched = self._take_changes()
        touched.update(self._take_jobs())
        for kind in [k for k in touched.values() if k.count and len(k.impossible) >= len(self._nodes)]:
            refusal = permanent_refusal(kind.request, self._nodes, self._policy)
            if refusal is not None:
                for job in sorted(kind.jobs(), key=self._rank):
                    yield job, refusal
        yield from self._pass(touched.values(), last_choice=False)
        yield from self._pass(list(self._shy.values()), last_choice=True)
        for kind in self._empty:
            if not kind.count and self._kinds.get((kind.request, kind.avoid)) is kind:
                del self._kinds[kind.request, kind.avoid]
                self._shy.pop(kind.number, None)
        self._empty.clear()

    def _pass(self, kinds: Iterable[JobClass], last_choice: bool) -> Iterator[tuple[Job, Placement]]:
        """Place first jobs of these kinds, in the order of the queue, until none of them finds a node."""
        heads = [(self._rank(job), kind.number, kind, job) for kind in kinds if (job := self._head(kind)) is not None]
        heapq.heapify(heads)
        while heads:
            _, _, kind, job = heapq.heappop(heads)
            if self._hold_back(job):
                self._leave(kind, job)
                if (head := self._head(kind)) is not None:
                    heapq.heappush(heads, (self._rank(head), kind.number, kind, head))
                continue
            if last_choice and not self._may_go_back(kind, job):
                continue
            found = self._best(kind, last_choice)
            if found is None:
                continue
            rank, name = found
            node, room = self._nodes[name], self._room(name)
            possible = len(self._nodes) - len(kind.impossible)
            yield job, placement(kind.request, node, room, rank[0], possible)
            self._forget_room(node)
            self._offer(kind, name)
            head = self._head(kind)
            if head is not None:
                heapq.heappush(heads, (self._rank(head), kind.number, kind, head))

    def _best(self, kind: JobClass, last_choice: bool) -> tuple[Rank, str] | None:
        """The kind's best node as it is now. The offer is kept: the caller makes another one for the node."""
        while kind.offers:
            rank, number, name = kind.offers[0]
            if kind.valid.get(name) != number:
                heapq.heappop(kind.offers)
                continue
            if rank[0] and not last_choice:
                self._shy[kind.number] = kind
                return None
            now = self._ask(kind, name)
            if now is None or now > rank:
                heapq.heappop(kind.offers)
                self._make_offer(kind, name, now)
                continue
            return rank, name
        self._shy.pop(kind.number, None)
        return None

    def _may_go_back(self, kind: JobClass, job: Job) -> bool:
        """Whether a node that failed this job before may have it again."""
        return self._now - job.since >= SHUN_S or not self._open - kind.avoid - kind.impossible

    # --- asking nodes -------------------------------------------------------------------------------------------

    def _ask(self, kind: JobClass, name: str) -> Rank | None:
        """The rank of a node for a kind; None if it cannot take one of its jobs now."""
        self.asked += 1
        kind.short.discard(name)
        node = self._nodes.get(name)
        if node is None or name in kind.impossible:
            return None
        room = self._room(name)
        why = temporary_reason(kind.request, node, room, self._promised, self._policy)
        if why is None:
            return rank_of(kind.request, node, room, name in kind.avoid)
        if kind.request.disk_mb and temporary_reason(kind.request, node, room, -(10**15), self._policy) is None:
            kind.short.add(name)
        return None

    def _offer(self, kind: JobClass, name: str) -> None:
        self._make_offer(kind, name, self._ask(kind, name))

    def _make_offer(self, kind: JobClass, name: str, rank: Rank | None) -> None:
        if rank is None:
            kind.valid.pop(name, None)
            return
        self._count += 1
        kind.valid[name] = self._count
        heapq.heappush(kind.offers, (rank, self._count, name))

    def _room(self, name: str) -> FreeResources:
        room = self._rooms.get(name)
        if room is None:
            node = self._nodes[name]
            room = self._rooms[name] = free_resources(node, self._peers, self._policy, self._now, self._hour)
        return room

    def _forget_room(self, node: NodeView) -> None:
        """What the node holds is another thing now."""
        for peer in self._same(node):
            self._rooms.pop(peer.spec.name, None)
        name = node.spec.name
        self._promised += node.reservations.disk_mb - self._disk.get(name, 0)
        self._disk[name] = node.reservations.disk_mb

    # --- taking changes in --------------------------------------------------------------------------------------

    def _take_changes(self) -> dict[int, JobClass]:
        """Ask the nodes that have changed; the kinds that may start something."""
        facts = self._changed | set(self._nodes) if self._all else self._changed
        self.version += bool(facts)
        for name in facts:
            self._look_back = True
            self._note_boot(name)
        loaded = self._loaded
        self._changed, self._loaded, self._all = set(), set(), False
        while self._alarms and self._alarms[0][0] <= self._now:
            when, name = heapq.heappop(self._alarms)
            if self._alarm.get(name) == when:
                del self._alarm[name]
                loaded.add(name)
        before = self._promised
        marked = {}
        for name in facts | loaded:
            node = self._nodes.get(name)
            if node is None:
                self._drop(name)
                continue
            for peer in self._same(node):
                marked[peer.spec.name] = peer
        for node in marked.values():
            self._forget_room(node)
        touched: dict[int, JobClass] = {}
        for name, node in marked.items():
            self._note(name, node)
            room = self._room(name)
            anew = name in facts
            if not anew and (room.closed is not None or room.slots <= 0):
                continue
            for kind in self._kinds.values():
                if anew:
                    self._judge(kind, name, node)
                self._offer(kind, name)
                if name in kind.valid or anew:
                    touched[kind.number] = kind
        if self._promised < before:
            for kind in self._kinds.values():
                for name in list(kind.short):
                    self._offer(kind, name)
                    touched[kind.number] = kind
        if facts:  # A node that has left may have been the last one that could hold a job.
            touched.update((kind.number, kind) for kind in self._kinds.values())
        return touched

    def _note_boot(self, name: str) -> None:
        """Keep the lists of nodes that are one computer, as `placement.machines` makes them."""
        node = self._nodes.get(name)
        boot = node.facts.boot_id if node is not None and node.facts is not None else ""
        before = self._boots.pop(name, "")
        if before:
            self._peers[before] = [peer for peer in self._peers[before] if peer.spec.name != name]
            if not self._peers[before]:
                del self._peers[before]
        if boot and node is not None:
            self._boots[name] = boot
            self._peers.setdefault(boot, []).append(node)

    def _same(self, node: NodeView) -> list[NodeView]:
        """The node, and the others whose room depends on what it holds."""
        return self._peers.get(node.facts.boot_id if node.facts else "", [node])

    def _judge(self, kind: JobClass, name: str, node: NodeView) -> None:
        if permanent_reason(kind.request, node, self._policy) is None:
            kind.impossible.discard(name)
        else:
            kind.impossible.add(name)

    def _note(self, name: str, node: NodeView) -> None:
        """Keep the set of open nodes, and the time at which an idle node takes a job in spite of its load."""
        if node.state == NodeState.READY and not node.closed:
            self._open.add(name)
        else:
            self._open.discard(name)
        when = node.idle_since + STARVATION_S
        if not node.reservations and self._now < when and self._alarm.get(name) != when:
            self._alarm[name] = when
            heapq.heappush(self._alarms, (when, name))

    def _drop(self, name: str) -> None:
        """A node has left the pool."""
        self._note_boot(name)
        self._open.discard(name)
        self._rooms.pop(name, None)
        self._alarm.pop(name, None)
        self._promised -= self._disk.pop(name, 0)
        for kind in self._kinds.values():
            kind.impossible.discard(name)
            kind.valid.pop(name, None)
            kind.short.discard(name)

    def _take_jobs(self) -> dict[int, JobClass]:
        """Queue the jobs that have come, or are not held back any more; their kinds."""
        come = self._fresh
        self._fresh = []
        if self._look_back and self._back:
            come += [job for job, _ in self._back.values()]
        self._look_back = False
        touched: dict[int, JobClass] = {}
        for job in come:
            if job.state != JobState.QUEUED or job.queue_entry is not None:
                self._back.pop(job.order, None)
                continue
            if self._hold_back(job):
                continue
            self._back.pop(job.order, None)
            kind = self._kind_of(job)
            kind.count += 1
            self._count += 1
            queue_entry = job.queue_entry = QueueEntry(job, kind)
            job.refusal = kind.refusal
            line = kind.lines.setdefault((job.spec.priority, job.spec.rule), [])
            heapq.heappush(line, (-job.spec.depth, job.order, self._count, queue_entry))
            touched[kind.number] = kind
        return touched

    def _hold_back(self, job: Job) -> bool:
        """Put the job aside if it may go to no node at all for now."""
        reasons = self._why_held_back(job, self._now)
        if reasons is None:
            return False
        self._back[job.order] = (job, reasons)
        job.refusal = Refusal({name: str(why) for name, why in reasons.items()})
        return True

    def _leave(self, kind: JobClass, job: Job) -> None:
        """The job does not wait among its kind any more."""
        job.queue_entry = None
        kind.count -= 1
        if not kind.count:
            self._empty.append(kind)

    def _kind_of(self, job: Job) -> JobClass:
        key = (job.spec.request, frozenset(job.avoid))
        kind = self._kinds.get(key)
        if kind is None:
            self._count += 1
            refusal = Refusal(_Reasons(lambda: self._whys(*key)))
            kind = self._kinds[key] = JobClass(self._count, *key, refusal)
            for name, node in self._nodes.items():
                self._judge(kind, name, node)
                self._offer(kind, name)
        return kind

    # --- the order ----------------------------------------------------------------------------------------------

    def _rank(self, job: Job) -> tuple[int, float, int, int]:
        """Next first: priority, then longest expected, then deepest in the DAG, then oldest."""
        spec = job.spec
        return (-spec.priority, -self._durations.expected(spec.rule), -spec.depth, job.order)

    def _head(self, kind: JobClass) -> Job | None:
        """The kind's first job."""
        best: Job | None = None
        for key, line in list(kind.lines.items()):
            while line and not line[0][3].valid:
                heapq.heappop(line)
            if not line:
                del kind.lines[key]
            elif best is None or self._rank(line[0][3].job) < self._rank(best):
                best = line[0][3].job
        return best

    def queue(self) -> list[Job]:
        """All waiting jobs, next first. Sorts them all: for those who want to look at it."""
        queued = [job for kind in self._kinds.values() for job in kind.jobs()]
        queued += [job for job, _ in self._back.values() if job.state == JobState.QUEUED]
        return sorted(queued, key=self._rank)

    # --- why ----------------------------------------------------------------------------------------------------

    def _whys(self, request: Request, avoid: frozenset[str]) -> dict[str, NodeReason]:
        """Each node's reason."""
        whys = {}
        for name, node in self._nodes.items():
            why = permanent_reason(request, node, self._policy)
            if why is None:
                why = temporary_reason(request, node, self._room(name), self._promised, self._policy)
            if why is None and name in avoid:
                why = SHUNNED
            if why is not None:
                whys[name] = why
        return whys

    def held_back_jobs(self) -> list[Job]:
        """Jobs that are held back."""
        return [job for job, _ in self._back.values()]

    def groups(self) -> list[WaitingGroup]:
        """All waiting jobs by their reasons."""
        groups = [
            WaitingGroup(kind.number, kind.jobs, lambda kind=kind: self._whys(kind.request, kind.avoid))  # type: ignore[misc]
            for kind in self._kinds.values()
            if kind.count
        ]
        back: dict[BackKey, list[Job]] = {}
        whys_of: dict[BackKey, dict[str, NodeReason]] = {}
        for job, whys in self._back.values():
            if job.state == JobState.QUEUED and job.queue_entry is None:
                key = _back_key(whys)
                back.setdefault(key, []).append(job)
                whys_of[key] = whys
        for key, jobs in back.items():
            groups.append(WaitingGroup(self._number(key), lambda jobs=jobs: jobs, lambda whys=whys_of[key]: whys))  # type: ignore[misc]
        return groups

    def _number(self, key: BackKey) -> int:
        """The number of the group of jobs that are held back for these reasons."""
        if key not in self._back_numbers:
            self._count += 1
            self._back_numbers[key] = self._count
        return self._back_numbers[key]

    def group_numbers(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, int]]:
        """Those of the jobs that wait, each with the number of its group."""
        for job in jobs:
            if job.state != JobState.QUEUED:
                continue
            if isinstance(job.queue_entry, QueueEntry):
                yield job, job.queue_entry.kind.number
            elif job.order in self._back:
                yield job, self._number(_back_key(self._back[job.order][1]))


def _back_key(whys: Mapping[str, NodeReason]) -> BackKey:
    return tuple(sorted((name, why.kind) for name, why in whys.items()))
