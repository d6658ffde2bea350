"""Machines. Several entries of the host list may be one computer (localhost beside its own SSH name, for example)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .node import NodeView

Peers = Mapping[str, list[NodeView]]
"""The nodes by boot id."""


@dataclass(frozen=True)
class Machine:
    """The load of one computer, summed over all entries of the host list that are this computer.

    `cores` is the number of its cores. If the SLOTS of its entries together are more, that number counts (the user's
    choice). `reserved` are the cores that our jobs asked for. `ours` are the busy cores of our jobs, and `foreign`
    those of other people.
    """

    cores: int
    reserved: int
    ours: float
    foreign: float


def peers_by_boot_id(nodes: Iterable[NodeView]) -> Peers:
    """Return the nodes by boot id, because entries with the same boot id are one computer."""
    peers: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.facts and node.facts.boot_id:
            peers.setdefault(node.facts.boot_id, []).append(node)
    return peers


def peers_of(node: NodeView, peers: Peers) -> list[NodeView]:
    """Return the entries that are the same computer as `node`. A container with a CPU quota counts as a computer of its
    own, because it measures only its own use.
    """
    if node.facts is None or node.facts.quota:
        return [node]
    return peers.get(node.facts.boot_id, [node])


def machine_of(node: NodeView, peers: Peers) -> Machine:
    """Return the load of the node's computer.

    The use of our jobs in a sample counts only for attempts that still hold a reservation. So the cores of a job that
    has ended since the sample are free at once, not only with the next sample.
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
    """Return the cores of the computer that has these entries."""
    found = given = 0
    for peer in same:
        if peer.facts:
            found = max(found, peer.facts.cores)
        given += peer.spec.slots or 0
    return max(found, given)


def total_slots(nodes: Iterable[NodeView]) -> int:
    """Return the number of slots of these nodes together. The cores of a computer with two entries count once."""
    total = 0
    shared: dict[str, list[NodeView]] = {}
    for node in nodes:
        if node.facts and node.facts.boot_id and not node.facts.quota:
            shared.setdefault(node.facts.boot_id, []).append(node)
        else:
            total += node.slots
    return total + sum(min(sum(node.slots for node in same), _cores(same)) for same in shared.values())
