"""What a node can give at one moment."""

from dataclasses import dataclass

from .machine import Machine, Peers, machine_of, peers_of
from .model import NodeState
from .node import NodeView
from .node_reason import NodeReason
from .policy import Policy

STARVATION_S = 30.0
"""A node that runs none of our jobs takes one after this long, however busy other people keep it."""

MIN_FREE_DISK_MB = 16
"""A node whose scratch has less room than this gets no job: its records and the first of its output need some."""


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


def within_hours(hours: tuple[int, int] | None, hour: int | None) -> bool:
    """Whether `hour` (0-23, local) lies in the half-open window, which may cross midnight."""
    if hours is None or hour is None:
        return True
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


def _same_memory(one: NodeView, other: NodeView) -> bool:
    """Whether entries of one computer have one memory: containers may have a limit of their own."""
    assert one.facts is not None and other.facts is not None
    return not one.facts.quota and one.facts.mem_mb == other.facts.mem_mb


def _others(node: NodeView) -> bool:
    """Whether somebody else is logged in there: then a busy node is left to them."""
    user = node.facts.user if node.facts else ""
    return any(name != user for name in (node.load.users if node.load else ()))
