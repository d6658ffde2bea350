"""The choice of a node for a job: feasible nodes are filtered, then ranked by what they would have left.

What a node has left is `max_load x cores - foreign - max(ours, reserved)`, where `foreign` are other people's busy
cores, `ours` what our running jobs use and `reserved` what they asked for. A reservation bridges the second until a
new job shows in the sample (no herd on an idle node), other people always count, and nothing counts twice.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from .model import Load, NodeFacts, NodeSpec, NodeState, Request, Seat

STARVATION_S = 30.0
"""A node that runs none of our jobs takes one after this long, however busy other people keep it."""
MIN_FREE_DISK_MB = 16
"""A node whose scratch has less room than this gets no job: its records and the first of its output need some."""


@dataclass(frozen=True)
class Policy:
    """The settings that placement obeys, the same for all nodes."""

    max_load: float = 1.0
    min_free_mem_mb: int = 512
    ntasks_per_node: int | None = None


class Reservations(MutableMapping[str, tuple[Request, Seat]]):
    """What the attempts on one node hold, by attempt key. The sums are kept up to date: reading them is cheap."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Request, Seat]] = {}
        self._slots: dict[int, int] = {}
        self._gpus: dict[int, int] = {}
        self.cores = 0
        self.mem_mb = 0
        self.disk_mb = 0

    def __getitem__(self, key: str) -> tuple[Request, Seat]:
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __setitem__(self, key: str, value: tuple[Request, Seat]) -> None:
        if key in self._held:
            del self[key]
        self._held[key] = value
        self._count(*value, 1)

    def __delitem__(self, key: str) -> None:
        self._count(*self._held.pop(key), -1)

    def _count(self, request: Request, seat: Seat, sign: int) -> None:
        self.cores += sign * request.cores
        self.mem_mb += sign * request.mem_mb
        self.disk_mb += sign * request.disk_mb
        for used, numbers in ((self._slots, seat.slots), (self._gpus, seat.gpus)):
            for number in numbers:
                # Two holders of one number: an adopted attempt may name a slot that was given away meanwhile.
                used[number] = used.get(number, 0) + sign
                if not used[number]:
                    del used[number]

    @property
    def slots(self) -> Mapping[int, int]:
        """The slots in use, with the number of their holders."""
        return self._slots

    @property
    def gpus(self) -> Mapping[int, int]:
        """The GPUs in use, with the number of their holders."""
        return self._gpus


@dataclass
class NodeView:
    """One node as placement sees it: what it is, what it measured last, and what we hold there.

    `machine` names the computer: two entries of the host list with one boot id share its load. A `distrusted` node has
    left a start unanswered. `had` are paths that jobs found there, `missing` those that it never had.
    `idle_since` is when the last of our jobs there ended (or when it joined). One that is `leaving` the pool may have a
    `successor` of its name: the same entry of the host list, edited.
    """

    spec: NodeSpec
    state: NodeState = NodeState.OFFLINE
    facts: NodeFacts | None = None
    load: Load | None = None
    held: Reservations = field(default_factory=Reservations)
    idle_since: float = 0.0
    missing: set[str] = field(default_factory=set)
    had: set[str] = field(default_factory=set)
    drain: str = ""
    distrusted: bool = False
    leaving: bool = False
    successor: NodeSpec | None = None
    why: str = ""

    @property
    def closed(self) -> bool:
        """Whether nothing more is placed here, by the user's will: `drain` says why, or it is `leaving` the pool."""
        return bool(self.drain) or self.leaving

    @property
    def slots(self) -> int:
        if self.spec.slots is not None:
            return self.spec.slots
        return self.facts.cores if self.facts else 0

    @property
    def mem_mb(self) -> int:
        if self.spec.mem_mb is not None:
            return self.spec.mem_mb
        return self.facts.mem_mb if self.facts else 0

    @property
    def gpus(self) -> tuple[int, ...]:
        if self.spec.gpus is not None:
            return tuple(range(self.spec.gpus))
        return self.facts.gpus if self.facts else ()

    def hold(self, key: str, request: Request, seat: Seat) -> None:
        """The attempt `key` takes its seat here."""
        self.held[key] = (request, seat)

    def release(self, key: str, now: float) -> None:
        """The attempt `key` holds nothing here any more; nothing happens if it held nothing."""
        if self.held.pop(key, None) is not None and not self.held:
            self.idle_since = now

    def reserved(self) -> int:
        """Cores that our jobs here asked for."""
        return self.held.cores

    def used_slots(self) -> set[int]:
        return set(self.held.slots)

    def used_gpus(self) -> set[int]:
        return set(self.held.gpus)


@dataclass(frozen=True)
class Machine:
    """What all entries of the host list that are one computer hold together.

    `cores` are its own, or the SLOTS that the user gave to its entries if those are more (the user's choice).
    """

    cores: int
    reserved: int
    ours: float
    foreign: float


@dataclass(frozen=True)
class Placement:
    """The chosen node, the seat there, and why it won."""

    node: str
    seat: Seat
    why: str


@dataclass(frozen=True)
class Refusal:
    """No node now. `reasons` holds each node's; `forever` says that no node can ever hold the job."""

    reasons: Mapping[str, str]
    forever: bool = False


Peers = Mapping[str, list[NodeView]]


def machines(nodes: Iterable[NodeView]) -> Peers:
    """The entries of the host list that are one computer (localhost beside its own SSH name), by boot id."""
    peers: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.facts and node.facts.boot_id:
            peers.setdefault(node.facts.boot_id, []).append(node)
    return peers


def machine_of(node: NodeView, peers: Peers) -> Machine:
    """The computer's load: our use summed over every entry that shares its boot id.

    Our use in a sample counts only the attempts that are still held: what a job that has ended since used is
    free again at once, not a sample later.
    """
    same = peers.get(node.facts.boot_id if node.facts else "", [node])
    ours = 0.0
    seen_by_others = 0.0
    for peer in same:
        if peer.load is None:
            continue
        ours += sum(used for key, used in peer.load.ours.items() if key in peer.held)
        if peer is not node:
            seen_by_others += sum(peer.load.ours.values()) + peer.load.ended
    reserved = sum(peer.reserved() for peer in same)
    foreign = max(0.0, (node.load.foreign if node.load else 0.0) - seen_by_others)
    cores = max((peer.facts.cores for peer in same if peer.facts), default=0)
    given = sum(peer.spec.slots or 0 for peer in same)
    return Machine(max(cores, given), reserved, ours, foreign)


def left(node: NodeView, machine: Machine, policy: Policy) -> float:
    """Cores that the node can still give. Negative when other people have taken more than there is.

    SLOTS below the cores only cap our part: `2/ada` still gets its two of sixteen cores while others use ten.
    """
    limit = policy.max_load if node.spec.max_load is None else node.spec.max_load
    by_load = limit * machine.cores - machine.foreign - max(machine.ours, float(machine.reserved))
    return min(by_load, float(node.slots - node.reserved()))


def tolerance(node: NodeView) -> float:
    """The background noise (kernel, desktop, agent) that does not keep a job away: a tenth of the
    node, at most half a core; an idle desktop measures 0.02 to 0.3 busy cores."""
    return min(0.5, 0.1 * max(1, node.slots))


def never(request: Request, node: NodeView) -> str | None:
    """Why this node can never hold the job, whatever runs there; None when it can."""
    if request.node is not None and request.node != node.spec.name:
        return f"the job is pinned to node {request.node}"
    if node.state == NodeState.REJECTED:
        return node.why or "unusable"
    if node.leaving and node.successor is None:
        return "was taken out of the host list"
    absent = request.constraint - node.spec.tags
    if absent:
        return f"lacks the tag {', '.join(sorted(absent))}"
    if node.facts is None:
        return None
    if request.cores > node.slots:
        return f"has {node.slots} slots, the job needs {request.cores}"
    if request.mem_mb > node.mem_mb:
        return f"has {node.mem_mb} MiB of memory, the job needs {request.mem_mb}"
    if request.gpus > len(node.gpus):
        return f"has {len(node.gpus)} GPUs, the job needs {request.gpus}"
    for path in request.needs:
        if path in node.missing:
            return f"has no {path}, which the job needs"
    return None


def not_now(
    request: Request, node: NodeView, machine: Machine, policy: Policy, now: float, hour: int | None
) -> str | None:
    """Why this node cannot take the job at this moment; None when it can."""
    if node.state != NodeState.READY:
        return f"is {node.state.value}{': ' + node.why if node.why else ''}"
    if node.drain:
        return f"is drained: {node.drain}"
    if node.leaving:
        return "was edited in the host list: its jobs end first"
    if node.load is None:
        return "has not measured its load yet"
    if node.distrusted and node.held:
        return "did not answer when it was to start jobs: it gets one at a time until it starts one"
    if not within_hours(node.spec.hours, hour):
        return "is outside its hours"
    free_slots = node.slots - len(node.used_slots())
    if request.cores > free_slots:
        return f"has {free_slots} of {node.slots} slots free, the job needs {request.cores}"
    cap = policy.ntasks_per_node
    if cap is not None and len(node.held) >= cap:
        return f"runs {len(node.held)} jobs, as many as --harbor-ntasks-per-node allows"
    memory = _memory_short(request, node, policy)
    if memory:
        return memory
    free_gpus = len(node.gpus) - len(node.used_gpus())
    if request.gpus > free_gpus:
        return f"has {free_gpus} of {len(node.gpus)} GPUs free, the job needs {request.gpus}"
    remaining = left(node, machine, policy)
    if remaining + tolerance(node) >= request.cores:
        return None
    if not node.held and now - node.idle_since >= STARVATION_S and not _others(node):
        return None
    return (
        f"has {max(0.0, remaining):.1f} cores left (other people use {machine.foreign:.1f}, "
        f"our jobs hold {machine.reserved}), the job needs {request.cores}"
    )


def _others(node: NodeView) -> bool:
    """Whether somebody else is logged in there: then a busy node is left to them."""
    user = node.facts.user if node.facts else ""
    return any(name != user for name in (node.load.users if node.load else ()))


def _memory_short(request: Request, node: NodeView, policy: Policy) -> str | None:
    assert node.load is not None
    reserved = sum(r.mem_mb for r, _ in node.held.values())
    if request.mem_mb > node.mem_mb - reserved:
        return f"has {node.mem_mb - reserved} MiB unreserved, the job needs {request.mem_mb}"
    available = node.load.mem_available_mb
    if available is not None and available - request.mem_mb < policy.min_free_mem_mb:
        return f"has {available} MiB available; the job needs {request.mem_mb} and {policy.min_free_mem_mb} stay free"
    disk = node.load.disk_free_mb
    if disk is not None and max(request.disk_mb, MIN_FREE_DISK_MB) > disk:
        needed = request.disk_mb or f"{MIN_FREE_DISK_MB} for its records and output"
        return f"has {disk} MiB of scratch free, the job needs {needed}"
    return None


def within_hours(hours: tuple[int, int] | None, hour: int | None) -> bool:
    """Whether `hour` (0-23, local) lies in the half-open window, which may cross midnight."""
    if hours is None or hour is None:
        return True
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


def place(
    request: Request,
    nodes: Mapping[str, NodeView],
    policy: Policy,
    now: float,
    *,
    hour: int | None = None,
    avoid: Iterable[str] = (),
    peers: Peers | None = None,
) -> Placement | Refusal:
    """The best feasible node for the request, or each node's reason.

    Nodes in `avoid` (they failed or refused this job lately) are taken only if nothing else can ever hold it.
    """
    impossible = {name: why for name, node in nodes.items() if (why := never(request, node))}
    possible = [node for name, node in nodes.items() if name not in impossible]
    if not possible:
        return Refusal(impossible, forever=True)
    shunned = set(avoid)
    if any(node.spec.name not in shunned for node in possible):
        usable = [node for node in possible if node.spec.name not in shunned]
    else:
        usable = possible
    together = machines(nodes.values()) if peers is None else peers
    reasons = dict(impossible)
    reasons.update({n.spec.name: "failed this job before" for n in possible if n not in usable})
    best: tuple[tuple[float, int, str], NodeView, float] | None = None
    for node in usable:
        machine = machine_of(node, together)
        why = not_now(request, node, machine, policy, now, hour)
        if why is not None:
            reasons[node.spec.name] = why
            continue
        remaining = left(node, machine, policy) - request.cores
        available = node.load.mem_available_mb if node.load else None
        rank = (-remaining / max(1, node.slots), -(available or 0), node.spec.name)
        if best is None or rank < best[0]:
            best = (rank, node, remaining)
    if best is None:
        return Refusal(reasons)
    _, node, remaining = best
    why = f"{remaining + request.cores:.1f} of {node.slots} cores left, the most of {len(usable)} nodes"
    return Placement(node.spec.name, seat(request, node), why)


def seat(request: Request, node: NodeView) -> Seat:
    """The lowest free slots and GPUs."""
    used = node.used_slots()
    slots = tuple(i for i in range(node.slots) if i not in used)[: request.cores]
    taken = node.used_gpus()
    gpus = tuple(g for g in node.gpus if g not in taken)[: request.gpus]
    return Seat(slots, gpus)
