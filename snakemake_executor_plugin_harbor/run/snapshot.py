"""Snapshots of the pool, for threads other than the dispatcher's.

Only the dispatcher's thread reads the pool itself. After each round it publishes a new snapshot if something in it has
changed. A snapshot never changes, so every thread may read it without a lock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..core import actions as act
from ..core import events as ev
from ..core.capacity import Capacity
from ..core.lifecycle import CONNECTED, HOLDING
from ..core.model import JobId, NodeFacts, NodeSpec, NodeState
from ..core.node import NodeView
from ..core.pool import Pool
from ..store.journal_writer import shown_state


@dataclass(frozen=True)
class NodeSnapshot:
    """One node. `shown_state` is its state as the `harbor` command shows it, such as "draining"."""

    spec: NodeSpec
    state: NodeState
    why: str
    facts: NodeFacts | None
    slots: int
    leaving: bool
    shown_state: str

    @classmethod
    def of(cls, node: NodeView) -> "NodeSnapshot":
        """Copy what other threads may need to know of a node."""
        return cls(node.spec, node.state, node.why, node.facts, node.slots, node.leaving, shown_state(node)[0])


@dataclass(frozen=True)
class Snapshot:
    """The pool after one round.

    `nodes` are in the order of the host list. `slots` is the number of slots of the nodes that can be used now. `idle`:
    no job holds anything on a node. `capacity` says which jobs the nodes could hold.
    """

    nodes: Mapping[str, NodeSnapshot]
    slots: int = 0
    idle: bool = True
    capacity: Capacity = field(default_factory=Capacity)

    def ready_nodes(self) -> list[str]:
        """Return the names of the nodes that are ready."""
        return [name for name, node in self.nodes.items() if node.state == NodeState.READY]

    def all_nodes_answered(self) -> bool:
        """Return whether each node has answered or has failed to."""
        return all(node.state not in (NodeState.OFFLINE, NodeState.CONNECTING) for node in self.nodes.values())

    def all_nodes_decided(self) -> bool:
        """Return whether each node is ready, or cannot become ready before the user does something."""
        final = (NodeState.READY, NodeState.REJECTED, NodeState.UNUSABLE)
        return all(node.state in final for node in self.nodes.values())

    def is_connected(self, name: str) -> bool:
        """Return whether the pool has the node and is connected to it."""
        node = self.nodes.get(name)
        return node is not None and node.state in CONNECTED


class SnapshotMaker:
    """Makes the snapshots, on the dispatcher's thread. `latest` may be read by any thread."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._holding: set[JobId] = set()
        self._version = pool.waiting.version
        nodes = {name: NodeSnapshot.of(node) for name, node in pool.nodes.items()}
        self.latest = Snapshot(nodes, capacity=Capacity(pool.nodes.values(), pool.policy))

    def update(self, events: Iterable[ev.Event], actions: Iterable[act.Action]) -> bool:
        """Publish a new snapshot if the round has changed something. Returns whether the capacity has changed.

        The cost grows with the nodes that have changed, not with all nodes, jobs or events.
        """
        changed: set[str] = set()
        for action in actions:
            if isinstance(action, act.NodeChanged):
                changed.add(action.node)
            elif isinstance(action, act.JobChanged):
                if action.state in HOLDING:
                    self._holding.add(action.job)
                else:
                    self._holding.discard(action.job)
        if any(isinstance(event, ev.HostListChanged) for event in events):
            changed.update(self._pool.nodes)
        before = self.latest
        now = before
        if changed:
            now = replace(now, nodes=self._nodes(changed))
        if now.idle != (not self._holding):
            now = replace(now, idle=not self._holding)
        if self._version != self._pool.waiting.version:
            self._version = self._pool.waiting.version
            capacity = Capacity(self._pool.nodes.values(), self._pool.policy)
            now = replace(now, slots=self._pool.slots(), capacity=capacity)
        self.latest = now
        return now.capacity is not before.capacity and not now.capacity.equals(before.capacity)

    def _nodes(self, changed: Iterable[str]) -> dict[str, NodeSnapshot]:
        nodes = dict(self.latest.nodes)
        for name in changed:
            node = self._pool.nodes.get(name)
            if node is not None:
                nodes[name] = NodeSnapshot.of(node)
            else:
                nodes.pop(name, None)
        return nodes
