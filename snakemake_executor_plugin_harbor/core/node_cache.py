"""Facts about nodes that the waiting queue keeps between rounds, so that no round has to ask all nodes."""

import heapq
from collections.abc import Iterator, Mapping

from .free_resources import STARVATION_S, FreeResources, free_resources
from .model import NodeState
from .node import NodeView
from .policy import Policy


class NodeCache:
    """The free resources of nodes in the present round, and sums and sets over all nodes that are kept up to date.

    `usable` are the nodes that are ready and may get jobs. `promised_disk_mb` is the disk space that all placed jobs
    asked for together.
    """

    def __init__(self, nodes: Mapping[str, NodeView], policy: Policy) -> None:
        self.usable: set[str] = set()
        self.promised_disk_mb = 0
        self._nodes = nodes
        self._policy = policy
        self._now = 0.0
        self._hour: int | None = None
        self._free: dict[str, FreeResources] = {}
        self._peers: dict[str, list[NodeView]] = {}
        self._boot_ids: dict[str, str] = {}
        self._disk_mb: dict[str, int] = {}
        self._alarms: list[tuple[float, str]] = []
        self._alarm_of: dict[str, float] = {}

    def start_round(self, now: float, hour: int | None) -> None:
        """Free resources are computed again in each round, because some of them depend on the time."""
        self._now, self._hour = now, hour
        self._free.clear()

    def free(self, name: str) -> FreeResources:
        """Return what the node can give now."""
        free = self._free.get(name)
        if free is None:
            free = free_resources(self._nodes[name], self._peers, self._policy, self._now, self._hour)
            self._free[name] = free
        return free

    def peers(self, node: NodeView) -> list[NodeView]:
        """Return the node and all other nodes whose free resources depend on its reservations."""
        return self._peers.get(node.facts.boot_id if node.facts else "", [node])

    def reservations_changed(self, node: NodeView) -> None:
        """Drop the free resources of the node and its peers, and correct the sum of promised disk space."""
        for peer in self.peers(node):
            self._free.pop(peer.spec.name, None)
        name = node.spec.name
        self.promised_disk_mb += node.reservations.disk_mb - self._disk_mb.get(name, 0)
        self._disk_mb[name] = node.reservations.disk_mb

    def update_machine(self, name: str) -> None:
        """Update the lists of nodes that are one computer (as `peers_by_boot_id` makes them) for one node."""
        node = self._nodes.get(name)
        boot_id = node.facts.boot_id if node is not None and node.facts is not None else ""
        before = self._boot_ids.pop(name, "")
        if before:
            self._peers[before] = [peer for peer in self._peers[before] if peer.spec.name != name]
            if not self._peers[before]:
                del self._peers[before]
        if boot_id and node is not None:
            self._boot_ids[name] = boot_id
            self._peers.setdefault(boot_id, []).append(node)

    def update_usable(self, name: str, node: NodeView) -> None:
        """Update the set of usable nodes. Set an alarm for the time at which an idle node takes a job in spite of its
        load.
        """
        if node.state == NodeState.READY and not node.closed:
            self.usable.add(name)
        else:
            self.usable.discard(name)
        when = node.idle_since + STARVATION_S
        if not node.reservations and self._now < when and self._alarm_of.get(name) != when:
            self._alarm_of[name] = when
            heapq.heappush(self._alarms, (when, name))

    def due_alarms(self) -> Iterator[str]:
        """Remove the alarms that are due, and return their nodes."""
        while self._alarms and self._alarms[0][0] <= self._now:
            when, name = heapq.heappop(self._alarms)
            if self._alarm_of.get(name) == when:
                del self._alarm_of[name]
                yield name

    def remove(self, name: str) -> None:
        """Forget a node that has left the pool."""
        self.update_machine(name)
        self.usable.discard(name)
        self._free.pop(name, None)
        self._alarm_of.pop(name, None)
        self.promised_disk_mb -= self._disk_mb.pop(name, 0)
