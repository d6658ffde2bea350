"""The choice of a node for a job.

Nodes that cannot take the job are filtered out (`feasibility.py`). The rest are ranked by the cores that they would
have left relative to their size (`free_resources.py` holds the formula).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count, islice

from .feasibility import Refusal, permanent_reason, permanent_refusal, temporary_reason
from .free_resources import STARVATION_S, FreeResources, free_resources
from .machine import Peers, peers_by_boot_id
from .model import Request, Reservation
from .node import NodeView
from .node_reason import NodeReason
from .policy import Policy

BUSY_S = 60.0
"""A node that is wholly busy is as bad as one to which the inputs have to be sent for this time."""
Rank = tuple[bool, float, int, str]
"""The rank of a node for a job. The node with the lowest rank is the best."""
SHUNNED = NodeReason("did not take or finish this job before, so other nodes come first for a few seconds")


@dataclass(frozen=True)
class Placement:
    """The chosen node, the reservation there, and why this node was chosen."""

    node: str
    reservation: Reservation
    why: str


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
    """Return the best node for the request, or the reason of each node why it cannot take it.

    Nodes in `avoid` have failed or refused this job lately. They are the last choice, and no choice at all without
    `last_choice`.
    """
    refusal = permanent_refusal(request, nodes, policy)
    if refusal is not None:
        return refusal
    shunned = set(avoid)
    same = peers_by_boot_id(nodes.values()) if peers is None else peers
    promised = sum(node.reservations.disk_mb for node in nodes.values())
    reasons: dict[str, str] = {}
    best: tuple[Rank, NodeView, FreeResources] | None = None
    possible = 0
    for name, node in nodes.items():
        reason = permanent_reason(request, node, policy)
        if reason is None:
            possible += 1
            free = free_resources(node, same, policy, now, hour)
            reason = temporary_reason(request, node, free, promised, policy)
        if reason is None and name in shunned and not last_choice:
            reason = SHUNNED
        if reason is not None:
            reasons[name] = str(reason)
            continue
        rank = rank_of(request, node, free, name in shunned)
        if best is None or rank < best[0]:
            best = (rank, node, free)
    if best is None:
        return Refusal(reasons)
    return placement_on(best[1], request, best[2], best[0][0], possible)


def rank_of(request: Request, node: NodeView, free: FreeResources, shunned: bool) -> Rank:
    """Return the node's rank. Nodes that have not failed the job come first, then the emptiest relative to its size,
    then the one with most memory, then the first by name. The time to send the job's inputs counts as load.
    """
    remaining = free.cores - request.cores
    sending = seconds_to_send(request, node) / BUSY_S
    return (shunned, sending - remaining / max(1, node.slots), -free.available_mb, node.spec.name)


def seconds_to_send(request: Request, node: NodeView) -> float:
    """Return the expected time until the job's inputs are on the node."""
    return dict(request.sending).get(node.spec.name, 0.0) if request.sending else 0.0


def placement_on(node: NodeView, request: Request, free: FreeResources, shunned: bool, possible: int) -> Placement:
    """Return the placement on the chosen node. `possible` is the number of nodes that could ever hold the job."""
    if free.cores_with_tolerance < request.cores:
        left = f"{max(0.0, free.cores):.1f} of {node.slots} cores are left, and the job needs {request.cores}"
        why = f"it ran none of our jobs for {STARVATION_S:.0f} s, so it takes one though {left}"
    else:
        most = f"the most of {possible} nodes"
        if possible == 1:
            most = "and no other node can ever hold the job"
        elif request.sending:
            most = f"the best of {possible} nodes when the time to send its inputs counts, too"
        why = f"{free.cores:.1f} of {node.slots} cores left, {most}"
    seconds = seconds_to_send(request, node)
    if seconds:
        why += f"; its inputs are sent there in about {seconds:.0f} s"
    elif request.sending:
        why += "; its inputs are there already"
    if shunned:
        why += "; it did not take or finish this job before, and no other node can take it now"
    return Placement(node.spec.name, lowest_free(request, node), why)


def lowest_free(request: Request, node: NodeView) -> Reservation:
    """Return a reservation of the lowest free slots and GPUs of the node, and of the lowest free number of a task."""
    slots = islice((i for i in range(node.slots) if i not in node.reservations.slots), request.cores)
    gpus = islice((g for g in node.gpus if g not in node.reservations.gpus), request.gpus)
    task = next(i for i in count() if i not in node.reservations.tasks) if request.task is None else request.task
    return Reservation(tuple(slots), tuple(gpus), task)
