"""The choice of a node for a job: feasible nodes are filtered, then ranked by what they would have left.

What a node has left is `max_load x cores - foreign - max(ours, reserved)`, where `foreign` are other people's busy
cores, `ours` what our running jobs use and `reserved` what they asked for. A reservation bridges the second until a
new job shows in the sample (no herd on an idle node), other people always count, and nothing counts twice. Memory and
disk are reserved in the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from .feasibility import Refusal, permanent_reason, permanent_refusal, temporary_reason
from .free_resources import STARVATION_S, FreeResources, free_resources
from .machine import Peers, machines
from .model import Request, Reservation
from .node import NodeView
from .node_reason import NodeReason
from .policy import Policy

Rank = tuple[bool, float, int, str]

SHUNNED = NodeReason("failed this job before: others come first for a few seconds")


@dataclass(frozen=True)
class Placement:
    """The chosen node, the seat there, and why it won."""

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


def rank_of(request: Request, node: NodeView, room: FreeResources, shunned: bool) -> Rank:
    """The best node has the least rank: one that has not failed this job, then the emptiest relative to its size, then
    the one with most memory, then the first by name.
    """
    remaining = room.left - request.cores
    return (shunned, -remaining / max(1, node.slots), -room.available, node.spec.name)


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
