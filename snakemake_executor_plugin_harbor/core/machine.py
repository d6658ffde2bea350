"""Computers that several entries of the host list name, and their load."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .node import NodeView

Peers = Mapping[str, list[NodeView]]


@dataclass(frozen=True)
class Machine:
    """What all entries of the host list that are one computer hold together.

    `cores` are its own, or the SLOTS that the user gave to its entries if those are more (the user's choice).
    """

    cores: int
    reserved: int
    ours: float
    foreign: float


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
