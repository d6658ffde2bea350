"""The nodes of the pool, their states, and when each of them is tried again.

The job table keeps the jobs that are on them. Like the job table, the node table changes only when the reactor calls
it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from . import actions as act
from . import events as ev
from .lifecycle import CONNECTED, node_next
from .model import NodeSpec, NodeState
from .node import NodeView

UNSHARED = "the working directory is not there, or is another one"
MAX_REFUSALS = 3
"""A node that refuses this many starts in a row is quarantined."""
QUARANTINE_S = 60.0
QUARANTINE_MAX_S = 600.0
STEADY_S = 30.0
"""A connection that lasted this long resets the backoff."""
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
"""The pauses before a node that has answered in this run is tried again."""
STRANGER_BACKOFF_S = (*BACKOFF_S, 120.0, 300.0, 600.0)
"""The pauses before a node that has never answered in this run is tried again. It may be switched off for days."""
OPENING_PAUSE_S = 1.5
"""The pause as long as no node has answered. All nodes may be booting, and the run waits for the first one."""


class NodeTable:
    """All nodes by name. `emit` receives the actions that follow from a change."""

    def __init__(self, specs: Iterable[NodeSpec], emit: Callable[[act.Action], None]) -> None:
        self.views: dict[str, NodeView] = {spec.name: NodeView(spec) for spec in specs}
        self._emit = emit
        self._refusals: dict[str, list[str]] = {}
        self._unanswered: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._connected_at: dict[str, float] = {}
        self._some_leave = False
        self._ever_connected: set[str] = set()
        self._any_answered = False

    def get(self, name: str | None) -> NodeView | None:
        return self.views.get(name) if name is not None else None

    # --- connections ----------------------------------------------------------------------------------------

    def connect(self, node: NodeView) -> None:
        """Have a connection to the node opened."""
        self._retry_at.pop(node.spec.name, None)
        if self._transition(node, "connect", node.why):
            self._emit(act.Connect(node.spec))

    def connected(self, name: str, now: float) -> NodeView | None:
        """The node is connected. Return it, or None if no connection to it was being opened."""
        node = self.get(name)
        if node is None or not self._transition(node, "ready"):
            return None
        node.forgotten = False
        self._connected_at[name] = now
        self._ever_connected.add(name)
        self._any_answered = True
        if node.distrusted:
            self._transition(node, "misbehaved", "it does not answer when it is to start jobs")
            pause = QUARANTINE_S * 2 ** (self._unanswered.get(name, 1) - 1)
            self._retry_at[name] = now + min(QUARANTINE_MAX_S, pause)
        return node

    def disconnected(self, event: ev.NodeDown, now: float) -> NodeView | None:
        """The connection has ended. The node is tried again after a pause, which grows with each failure. A node that
        the user has to repair is tried again after the event's pause, or never.
        """
        name, node = event.node, self.get(event.node)
        if node is None:
            return None
        if event.permanent:
            if self._transition(node, "rejected", event.reason) and event.pause is not None:
                self._retry_at[name] = now + event.pause
        elif self._transition(node, "failed", event.reason) or self._transition(node, "lost", event.reason):
            if now - self._connected_at.pop(name, now) >= STEADY_S:
                self._failures.pop(name, None)
            self._retry_at[name] = now + max(self._backoff(name), event.pause or 0.0)
        return node

    def _backoff(self, name: str) -> float:
        if not self._any_answered:
            return OPENING_PAUSE_S
        pauses = BACKOFF_S if name in self._ever_connected else STRANGER_BACKOFF_S
        count = self._failures.get(name, 0)
        self._failures[name] = count + 1
        return pauses[min(count, len(pauses) - 1)]

    def tick(self, now: float) -> None:
        """Connect again, and end quarantines, where the pause has passed."""
        for name, retry_at in list(self._retry_at.items()):
            if now >= retry_at:
                self._retry_at.pop(name)
                node = self.views[name]
                if node.state in (NodeState.BACKOFF, NodeState.REJECTED):
                    self.connect(node)
                else:
                    self._transition(node, "probation")

    # --- trust ----------------------------------------------------------------------------------------------

    def mark_unshared(self, node: NodeView, why: str) -> None:
        """The node is connected, but it does not see the working directory. So it gets no jobs."""
        self._transition(node, "unshared", why)

    def mark_shared(self, node: NodeView) -> None:
        """The node sees the working directory again."""
        self._transition(node, "shared")

    def count_refusal(self, node: NodeView, refused: str, why: str, now: float) -> None:
        """Count a refused start. After three in a row the node gets no jobs for a minute, then it is tried again.

        `refused` names what was refused. The node is not quarantined if all refusals were of the same job, because that
        says more about the job than about the node.
        """
        name = node.spec.name
        refusals = self._refusals.setdefault(name, [])
        refusals.append(refused)
        if len(refusals) >= MAX_REFUSALS and len(set(refusals)) > 1 and self._transition(node, "misbehaved", why):
            self._retry_at[name] = now + QUARANTINE_S
            del self._refusals[name]

    def clear_refusals(self, name: str) -> None:
        """A job has ended normally on the node, so its refusals are no longer in a row."""
        self._refusals.pop(name, None)

    def distrust(self, name: str) -> None:
        """The node has not answered a start. When it is connected again, it is quarantined, each time for longer. Then
        it gets one job at a time until it has started one.
        """
        node = self.get(name)
        if node is not None:
            node.distrusted = True
            self._unanswered[name] = self._unanswered.get(name, 0) + 1

    def end_distrust(self, name: str) -> bool:
        """The node has started a job. Return whether it was distrusted until now."""
        node = self.get(name)
        if node is None or not node.distrusted:
            return False
        node.distrusted = False
        self._unanswered.pop(name, None)
        return True

    # --- the user's changes -----------------------------------------------------------------------------------

    def apply_host_list(self, specs: Iterable[NodeSpec]) -> None:
        """Apply the new host list. New nodes join. Missing nodes leave when their jobs have ended. A node whose
        connection has to be made in another way leaves and joins again.
        """
        wanted = {spec.name: spec for spec in specs}
        for name, node in self.views.items():
            spec = wanted.pop(name, None)
            node.successor = None
            node.leaving = spec is None
            if spec is None:
                continue
            if same_connection(spec, node.spec) or (node.state == NodeState.REJECTED and not node.reservations):
                node.spec = spec
                if node.state == NodeState.REJECTED:  # The edit may have repaired it.
                    self.connect(node)
            else:
                node.leaving, node.successor = True, spec
        self._some_leave = any(node.leaving for node in self.views.values())
        for spec in wanted.values():
            self._join(spec)

    def set_drain(self, name: str, reason: str) -> None:
        """Place no more jobs on the node. An empty reason ends the drain, and a node that is not connected is tried
        again at once.
        """
        node = self.get(name)
        if node is not None:
            node.drain = reason
            self._emit(act.NodeChanged(name, node.state, node.why))
            if not reason and node.state in (NodeState.REJECTED, NodeState.BACKOFF):
                self.connect(node)

    def forget(self, name: str) -> bool:
        """The user says that a node is dead. Return whether it is given up. A node that is connected is not."""
        node = self.get(name)
        if node is None or node.state in CONNECTED:
            return False
        node.forgotten = True
        self._emit(act.NodeChanged(name, node.state, node.why))
        return True

    def remove_departed(self) -> None:
        """Remove the nodes that leave the pool and have no reservations any more."""
        if not self._some_leave:
            return
        for name, node in list(self.views.items()):
            if node.leaving and not node.reservations:
                self._transition(node, "removed", "taken out of the host list")
                for facts in (
                    self.views,
                    self._refusals,
                    self._failures,
                    self._retry_at,
                    self._connected_at,
                    self._unanswered,
                ):
                    facts.pop(name, None)
                self._ever_connected.discard(name)
                self._emit(act.Disconnect(name))
                if node.successor is not None:
                    self._join(node.successor)

    def _join(self, spec: NodeSpec) -> None:
        self.views[spec.name] = NodeView(spec)
        self.connect(self.views[spec.name])

    def _transition(self, node: NodeView, trigger: str, why: str = "") -> bool:
        """Make one transition of lifecycle's table. Return whether the table has it."""
        after = node_next(node.state, trigger)
        if after is None:
            return False
        node.state, node.why = after, why
        self._emit(act.NodeChanged(node.spec.name, after, why))
        return True


def same_connection(one: NodeSpec, other: NodeSpec) -> bool:
    """Return whether one connection serves both specs. They may differ only in what placement uses."""
    ignored = {"slots": None, "mem_mb": None, "gpus": None, "tags": frozenset[str](), "max_load": None, "hours": None}
    return replace(one, **ignored) == replace(other, **ignored)  # type: ignore[arg-type]
