"""The choice of a node for a job: feasible nodes are filtered, then ranked by what they would have left.

What a node has left is `max_load x cores - foreign - max(ours, reserved)`, where `foreign` are other people's busy
cores, `ours` what our running jobs use and `reserved` what they asked for. A reservation bridges the second until a
new job shows in the sample (no herd on an idle node), other people always count, and nothing counts twice. Memory and
disk are reserved in the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from .model import NodeState, Request, Reservation
from .node import NodeView as NodeView

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


DEFAULTS = Policy()


class NodeReason(NamedTuple):
    """Why a node does not take a job. The sentence is made when somebody wants to read it.

    `busy`: it waits for other jobs of ours to end, as in any full pool. `permanent`: the node can never hold it.
    """

    text: str
    values: tuple[object, ...] = ()
    busy: bool = False
    permanent: bool = False

    def __str__(self) -> str:
        return self.text.format(*self.values)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @property
    def kind(self) -> tuple[str, ...]:
        """The same for two reasons that differ in numbers only, which change from one second to the next."""
        if self.busy:
            return ("busy",)
        return (self.text, *(value for value in self.values if isinstance(value, str)))


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
    reservation: Reservation
    why: str


@dataclass(frozen=True)
class Refusal:
    """No node can take the job now. `reasons` holds the reason of each node. `permanent` says that no node can ever
    hold the job. `hint` says what the user can do.
    """

    reasons: Mapping[str, str]
    permanent: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class FreeResources:
    """What a node can give at one moment. `closed` says why it takes no job at all.

    `left` are cores, before the tolerance for background noise. `starving`: it takes a job in spite of that. `memory`
    is what can be promised, None where no sample shows it. `scratch` is only checked for its minimum unless it is
    unknown how much is free where the working directory lies (`workdir`).
    """

    closed: NodeReason | None
    slots: int = 0
    left: float = 0.0
    enough: float = 0.0
    starving: bool = False
    foreign: float = 0.0
    reserved: int = 0
    unreserved: int = 0
    memory: int | None = None
    available: int = 0
    scratch: int | None = None
    workdir: int | None = None
    gpus: int = 0


Peers = Mapping[str, list[NodeView]]


def machines(nodes: Iterable[NodeView]) -> Peers:
    """The entries of the host list that are one computer (localhost beside its own SSH name), by boot id."""
    peers: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.facts and node.facts.boot_id:
            peers.setdefault(node.facts.boot_id, []).append(node)
    return peers


def peers_of(node: NodeView, peers: Peers) -> list[NodeView]:
    """The entries that are the same computer as `node`. A container with a CPU quota is a computer of its own: what it
    measures is its own use.
    """
    if node.facts is None or node.facts.quota:
        return [node]
    return peers.get(node.facts.boot_id, [node])


def machine_of(node: NodeView, peers: Peers) -> Machine:
    """The computer's load: our use summed over every entry that shares its boot id.

    Our use in a sample counts only the attempts that are still held: what a job that has ended since used is
    free again at once, not a sample later.
    """
    same = peers_of(node, peers)
    ours = 0.0
    seen_by_others = 0.0
    for peer in same:
        if peer.load is None:
            continue
        ours += sum(used for key, used in peer.load.ours.items() if key in peer.reservations)
        if peer is not node:
            seen_by_others += sum(peer.load.ours.values()) + peer.load.ended
    reserved = sum(peer.reservations.cores for peer in same)
    foreign = max(0.0, (node.load.foreign if node.load else 0.0) - seen_by_others)
    return Machine(_cores(same), reserved, ours, foreign)


def _cores(same: Iterable[NodeView]) -> int:
    """Cores of one computer that has these entries."""
    found = given = 0
    for peer in same:
        if peer.facts:
            found = max(found, peer.facts.cores)
        given += peer.spec.slots or 0
    return max(found, given)


def total_slots(nodes: Iterable[NodeView]) -> int:
    """How many slots these nodes have together: two entries that are one computer do not have its cores twice."""
    total = 0
    shared: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.facts and node.facts.boot_id and not node.facts.quota:
            shared.setdefault(node.facts.boot_id, []).append(node)
        else:
            total += node.slots
    return total + sum(min(sum(node.slots for node in same), _cores(same)) for same in shared.values())


def left(node: NodeView, machine: Machine, policy: Policy) -> float:
    """Cores that the node can still give. Negative when other people have taken more than there is.

    SLOTS below the cores only cap our part: `2/ada` still gets its two of sixteen cores while others use ten.
    """
    limit = policy.max_load if node.spec.max_load is None else node.spec.max_load
    by_load = limit * machine.cores - machine.foreign - max(machine.ours, float(machine.reserved))
    return min(by_load, float(node.slots - node.reservations.cores))


def tolerance(node: NodeView) -> float:
    """The background noise (kernel, desktop, agent) that does not keep a job away: a tenth of the
    node, at most half a core; an idle desktop measures 0.02 to 0.3 busy cores."""
    return min(0.5, 0.1 * max(1, node.slots))


def permanent_reason(request: Request, node: NodeView, policy: Policy = DEFAULTS) -> NodeReason | None:
    """Why this node can never hold the job, whatever runs there; None when it can."""
    if request.node is not None and request.node != node.spec.name:
        return NodeReason("the job is pinned to node {}", (request.node,), permanent=True)
    if node.state == NodeState.REJECTED:
        return NodeReason("{}", (node.why or "unusable",), permanent=True)
    if node.leaving and node.successor is None:
        return NodeReason("was taken out of the host list", permanent=True)
    if not request.constraint <= node.spec.tags:
        return NodeReason("lacks the tag {}", (", ".join(sorted(request.constraint - node.spec.tags)),), permanent=True)
    if node.facts is None:
        return None
    if request.cores > node.slots:
        return NodeReason("has {} slots, the job needs {}", (node.slots, request.cores), permanent=True)
    if request.mem_mb:
        if request.mem_mb > node.mem_mb:
            return NodeReason("has {} MiB of memory, the job needs {}", (node.mem_mb, request.mem_mb), permanent=True)
        if request.mem_mb + policy.min_free_mem_mb > node.facts.mem_mb > 0:
            text = "has {} MiB of memory, of which {} stay free (--harbor-min-free-mem-mb); the job needs {}"
            return NodeReason(text, (node.facts.mem_mb, policy.min_free_mem_mb, request.mem_mb), permanent=True)
    if request.gpus > len(node.gpus):
        return NodeReason("has {} GPUs, the job needs {}", (len(node.gpus), request.gpus), permanent=True)
    for path in request.needs:
        if path in node.missing:
            return NodeReason("has no {}, which the job needs", (path,), permanent=True)
    return None


def list_reasons(reasons_by_node: Mapping[str, NodeReason], most: int) -> list[str]:
    """Each node and its reason, in words. Of more than `most` nodes, those with the same reason are named together."""
    ordered = sorted(reasons_by_node.items())
    if len(ordered) <= most:
        return [f"{_named(name)} {why}" for name, why in ordered]
    alike: dict[tuple[str, ...], list[tuple[str, NodeReason]]] = {}
    for name, why in ordered:
        alike.setdefault(why.kind, []).append((name, why))
    lines = []
    for same in sorted(alike.values(), key=lambda same: same[0][1].permanent)[:most]:
        name, why = same[0]
        others = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        lines.append(f"{_named(name)}{others} {why}")
    if len(alike) > most:
        lines.append(f"{len(alike) - most} more reasons")
    return lines


def _named(name: str) -> str:
    return name if name == "every node" else f"node {name}"


def permanent_refusal(request: Request, nodes: Mapping[str, NodeView], policy: Policy) -> Refusal | None:
    """The refusal of a job that no node can ever hold; None if one can."""
    if request.node is not None and request.node not in nodes:
        listed = ", ".join(list(nodes)[:20]) + (", ..." if len(nodes) > 20 else "")
        text = f"there is no node {request.node}; the host list has {listed or 'no host'}"
        return Refusal({request.node: "is not in the host list"}, permanent=True, hint=text)
    reasons: dict[str, str] = {}
    for name, node in nodes.items():
        why = permanent_reason(request, node, policy)
        if why is None:
            return None
        reasons[name] = str(why)
    hint = ""
    if request.gpus and all(len(node.gpus) < request.gpus for node in nodes.values()):
        hint = (
            "harbor counts the GPUs that nvidia-smi shows; a YAML host file can say how many a node has, as in "
            f"`ada: {{gpus: {request.gpus}}}` (--harbor-hostfile)"
        )
    elif request.constraint and not any(request.constraint <= node.spec.tags for node in nodes.values()):
        tags = ", ".join(sorted(request.constraint))
        hint = f"tags are given to nodes in a YAML host file, as in `ada: {{tags: [{tags}]}}` (--harbor-hostfile)"
    return Refusal(reasons, permanent=True, hint=hint)


def free_resources(node: NodeView, peers: Peers, policy: Policy, now: float, hour: int | None) -> FreeResources:
    """What the node can give at this moment."""
    load = node.load
    if node.state != NodeState.READY:
        return FreeResources(NodeReason("is {}{}", (node.state.value, f": {node.why}" if node.why else "")))
    if node.drain:
        return FreeResources(NodeReason("is drained: {}", (node.drain,)))
    if node.leaving:
        return FreeResources(NodeReason("was edited in the host list: its jobs end first"))
    if load is None:
        return FreeResources(NodeReason("has not measured its load yet"))
    if node.distrusted and node.reservations:
        return FreeResources(
            NodeReason("did not answer when it was to start jobs: it gets one at a time until it starts one")
        )
    if not within_hours(node.spec.hours, hour):
        return FreeResources(NodeReason("is outside its hours"))
    cap = policy.ntasks_per_node
    if cap is not None and len(node.reservations) >= cap:
        return FreeResources(
            NodeReason("runs {} jobs, as many as --harbor-ntasks-per-node allows", (len(node.reservations),), busy=True)
        )
    if load.disk_free_mb is not None and load.disk_free_mb < MIN_FREE_DISK_MB:
        text = "has {} MiB of scratch free, the job needs {} for its records and output"
        return FreeResources(NodeReason(text, (load.disk_free_mb, MIN_FREE_DISK_MB)))
    machine = machine_of(node, peers)
    remaining = left(node, machine, policy)
    memory = available = None
    if load.mem_available_mb is not None:
        available = load.mem_available_mb
        base = available if node.mem_base_mb is None else node.mem_base_mb
        promised = sum(p.reservations.mem_mb for p in peers_of(node, peers) if p is node or _same_memory(p, node))
        memory = min(base - promised, available) - policy.min_free_mem_mb
    return FreeResources(
        None,
        slots=node.slots - len(node.reservations.slots),
        left=remaining,
        enough=remaining + tolerance(node),
        starving=not node.reservations and now >= node.idle_since + STARVATION_S and not _others(node),
        foreign=machine.foreign,
        reserved=machine.reserved,
        unreserved=node.mem_mb - node.reservations.mem_mb,
        memory=memory,
        available=available or 0,
        scratch=None if load.disk_free_mb is None else load.disk_free_mb - node.reservations.disk_mb,
        workdir=load.workdir_free_mb,
        gpus=len(node.gpus) - len(node.reservations.gpus),
    )


def _same_memory(one: NodeView, other: NodeView) -> bool:
    """Whether entries of one computer have one memory: containers may have a limit of their own."""
    assert one.facts is not None and other.facts is not None
    return not one.facts.quota and one.facts.mem_mb == other.facts.mem_mb


def _others(node: NodeView) -> bool:
    """Whether somebody else is logged in there: then a busy node is left to them."""
    user = node.facts.user if node.facts else ""
    return any(name != user for name in (node.load.users if node.load else ()))


def temporary_reason(
    request: Request, node: NodeView, room: FreeResources, promised: int, policy: Policy
) -> NodeReason | None:
    """Why this node cannot take the job at this moment; None when it can. `promised`: disk space in the working
    directory, in MiB, for all jobs that hold a node.
    """
    if room.closed is not None:
        return room.closed
    if request.cores > room.slots:
        return NodeReason(
            "has {} of {} slots free, the job needs {}", (room.slots, node.slots, request.cores), busy=True
        )
    if request.mem_mb > room.unreserved:
        return NodeReason("has {} MiB unreserved, the job needs {}", (room.unreserved, request.mem_mb), busy=True)
    if room.memory is not None and request.mem_mb > room.memory:
        text = "has {} MiB available, of which running jobs may take {}; the job needs {} and {} stay free"
        taken = max(0, room.available - policy.min_free_mem_mb - room.memory)
        busy = request.mem_mb <= room.memory + taken
        return NodeReason(text, (room.available, taken, request.mem_mb, policy.min_free_mem_mb), busy)
    if request.gpus > room.gpus:
        return NodeReason(
            "has {} of {} GPUs free, the job needs {}", (room.gpus, len(node.gpus), request.gpus), busy=True
        )
    if room.enough < request.cores and not room.starving:
        text = "has {:.1f} cores left (other people use {:.1f}, our jobs hold {}), the job needs {}"
        busy = room.enough + room.reserved >= request.cores
        return NodeReason(text, (max(0.0, room.left), room.foreign, room.reserved, request.cores), busy)
    if request.disk_mb:
        return _disk_short(request.disk_mb, room, promised)
    return None


def _disk_short(needed: int, room: FreeResources, promised: int) -> NodeReason | None:
    """The job's files lie in the working directory, which all nodes share."""
    if room.workdir is not None and needed > room.workdir - promised:
        text = "sees {} MiB free in the working directory, of which running jobs may take {}; the job needs {}"
        return NodeReason(text, (room.workdir, promised, needed), busy=needed <= room.workdir)
    if room.workdir is None and room.scratch is not None and needed > room.scratch:
        return NodeReason("has {} MiB of scratch free, the job needs {}", (room.scratch, needed))
    return None


def within_hours(hours: tuple[int, int] | None, hour: int | None) -> bool:
    """Whether `hour` (0-23, local) lies in the half-open window, which may cross midnight."""
    if hours is None or hour is None:
        return True
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


Rank = tuple[bool, float, int, str]


def rank_of(request: Request, node: NodeView, room: FreeResources, shunned: bool) -> Rank:
    """The best node has the least rank: one that has not failed this job, then the emptiest relative to its size, then
    the one with most memory, then the first by name.
    """
    remaining = room.left - request.cores
    return (shunned, -remaining / max(1, node.slots), -room.available, node.spec.name)


def place(
    request: Request,
    nodes: Mapping[str, NodeView],
    policy: Policy,
    now: float,
    *,
    hour: int | None = None,
    avoid: Iterable[str] = (),
    peers: Peers | None = None,
    last_choice: bool = True,
) -> Placement | Refusal:
    """The best feasible node for the request, or each node's reason.

    Nodes in `avoid` (they failed or refused this job lately) are the last choice; none at all without `last_choice`.
    """
    refusal = permanent_refusal(request, nodes, policy)
    if refusal is not None:
        return refusal
    shunned = set(avoid)
    together = machines(nodes.values()) if peers is None else peers
    promised = sum(node.reservations.disk_mb for node in nodes.values())
    reasons: dict[str, str] = {}
    best: tuple[Rank, NodeView, FreeResources] | None = None
    possible = 0
    for name, node in nodes.items():
        why = permanent_reason(request, node, policy)
        if why is None:
            possible += 1
            room = free_resources(node, together, policy, now, hour)
            why = temporary_reason(request, node, room, promised, policy)
        if why is None and name in shunned and not last_choice:
            why = SHUNNED
        if why is not None:
            reasons[name] = str(why)
            continue
        rank = rank_of(request, node, room, name in shunned)
        if best is None or rank < best[0]:
            best = (rank, node, room)
    if best is None:
        return Refusal(reasons)
    return placement(request, best[1], best[2], best[0][0], possible)


SHUNNED = NodeReason("failed this job before: others come first for a few seconds")


def placement(request: Request, node: NodeView, room: FreeResources, shunned: bool, possible: int) -> Placement:
    """The seat on the chosen node, and why it was chosen."""
    if room.enough < request.cores:
        why = f"it ran none of our jobs for {STARVATION_S:.0f} s, so it takes one though other people keep it busy"
    else:
        why = f"{room.left:.1f} of {node.slots} cores left, the most of {possible} nodes"
    if shunned:
        why += "; it failed this job before, and no other node can take it now"
    return Placement(node.spec.name, reservation(request, node), why)


def reservation(request: Request, node: NodeView) -> Reservation:
    """The lowest free slots and GPUs."""
    slots = islice((i for i in range(node.slots) if i not in node.reservations.slots), request.cores)
    gpus = islice((g for g in node.gpus if g not in node.reservations.gpus), request.gpus)
    return Reservation(tuple(slots), tuple(gpus))
