"""The resources that a node can give to a job at one moment.

The cores that a node has left are `max_load x cores - foreign - max(ours, reserved)`. `foreign` are the busy cores of
other people, `ours` the busy cores of our running jobs, and `reserved` the cores that our jobs asked for. A new job
shows in the load only after a second. Until then its reservation counts, so an idle node is not given too many jobs at
once. Other people's use always counts, and nothing counts twice. Memory and disk space are reserved in the same way.
"""

from dataclasses import dataclass

from .machine import Machine, Peers, machine_of, peers_of
from .model import NodeState
from .node import NodeView
from .node_reason import NodeReason
from .policy import Policy

STARVATION_S = 30.0
"""A node that has run none of our jobs for this long takes one, however busy other people keep it."""
MIN_FREE_DISK_MB = 16
"""A node whose scratch directory has less space gets no jobs, because a job's records and first output need some."""


@dataclass(frozen=True, slots=True)
class FreeResources:
    """The resources that a node can give at one moment. If the node takes no job at all, `closed` says why.

    `cores` are the cores that are left. `cores_with_tolerance` adds the use by other people that is tolerated. A
    `starving` node takes a job in spite of its load. `memory_mb` is the memory that can be promised (None: no sample
    shows it). `scratch_mb` limits a job only if the free space of the working directory (`workdir_mb`) is unknown.
    """

    closed: NodeReason | None
    slots: int = 0
    cores: float = 0.0
    cores_with_tolerance: float = 0.0
    starving: bool = False
    foreign_cores: float = 0.0
    reserved_cores: int = 0
    unreserved_mb: int = 0
    memory_mb: int | None = None
    available_mb: int = 0
    scratch_mb: int | None = None
    workdir_mb: int | None = None
    gpus: int = 0


def free_resources(node: NodeView, peers: Peers, policy: Policy, now: float, hour: int | None) -> FreeResources:
    """Return what the node can give at this moment."""
    closed, load = _closed_reason(node, policy, hour), node.load
    if closed is not None or load is None:
        return FreeResources(closed)
    machine = machine_of(node, peers)
    cores = cores_left(node, machine, policy)
    memory = available = None
    if load.mem_available_mb is not None:
        available = load.mem_available_mb
        base = available if node.mem_base_mb is None else node.mem_base_mb
        promised = sum(p.reservations.mem_mb for p in peers_of(node, peers) if p is node or _same_memory(p, node))
        memory = min(base - promised, available) - policy.min_free_mem_mb
    return FreeResources(
        None,
        slots=node.slots - len(node.reservations.slots),
        cores=cores,
        cores_with_tolerance=cores + noise_tolerance(node),
        starving=not node.reservations and now >= node.idle_since + STARVATION_S and not _others_logged_in(node),
        foreign_cores=machine.foreign,
        reserved_cores=machine.reserved,
        unreserved_mb=node.mem_mb - node.reservations.mem_mb,
        memory_mb=memory,
        available_mb=available or 0,
        scratch_mb=None if load.disk_free_mb is None else load.disk_free_mb - node.reservations.disk_mb,
        workdir_mb=load.workdir_free_mb,
        gpus=len(node.gpus) - len(node.reservations.gpus),
    )


def _closed_reason(node: NodeView, policy: Policy, hour: int | None) -> NodeReason | None:
    """Return why the node takes no job at all now, if it takes none."""
    load = node.load
    if node.state != NodeState.READY:
        return NodeReason("is {}{}", (node.state.value, f": {node.why_alone}" if node.why else ""))
    if node.drain:
        return NodeReason("is drained: {}", (node.drain,))
    if node.leaving:
        return NodeReason("was edited in the host list, so its jobs end first")
    if load is None:
        return NodeReason("has not measured its load yet")
    if node.distrusted and node.reservations:
        return NodeReason("did not answer when it was to start jobs, so it gets one at a time until it starts one")
    if not within_hours(node.spec.hours, hour):
        return NodeReason("is outside its hours")
    cap, running = policy.ntasks_per_node, len(node.reservations)
    if cap is not None and running >= cap:
        return NodeReason("runs {} jobs, as many as --harbor-ntasks-per-node allows", (running,), busy=True)
    if load.disk_free_mb is not None and load.disk_free_mb < MIN_FREE_DISK_MB:
        text = "has {} MiB of scratch free, the job needs {} for its records and output"
        return NodeReason(text, (load.disk_free_mb, MIN_FREE_DISK_MB))
    return None


def cores_left(node: NodeView, machine: Machine, policy: Policy) -> float:
    """Return the cores that the node can still give. The result is negative if other people use more than `max_load`
    allows.

    SLOTS below the number of cores limit only our part. So `2/ada` still gives its two of sixteen cores while other
    people use ten.
    """
    limit = policy.max_load if node.spec.max_load is None else node.spec.max_load
    by_load = limit * machine.cores - machine.foreign - max(machine.ours, float(machine.reserved))
    return min(by_load, float(node.slots - node.reservations.cores))


def noise_tolerance(node: NodeView) -> float:
    """Return the busy cores of other processes (kernel, desktop, agent) that do not keep a job away. They are a tenth
    of the node, and at most half a core. An idle desktop measures 0.02 to 0.3 busy cores.
    """
    return min(0.5, 0.1 * max(1, node.slots))


def within_hours(hours: tuple[int, int] | None, hour: int | None) -> bool:
    """Return whether `hour` (0 to 23, local time) lies in the half-open window `hours`, which may cross midnight."""
    if hours is None or hour is None:
        return True
    start, end = hours
    return start <= hour < end if start <= end else hour >= start or hour < end


def _same_memory(one: NodeView, other: NodeView) -> bool:
    """Return whether two entries of one computer share its memory. Containers may have a limit of their own."""
    assert one.facts is not None and other.facts is not None
    return not one.facts.quota and one.facts.mem_mb == other.facts.mem_mb


def _others_logged_in(node: NodeView) -> bool:
    """Return whether another user is logged in on the node. Then a busy node is left to that user."""
    user = node.facts.user if node.facts else ""
    return any(name != user for name in (node.load.users if node.load else ()))
