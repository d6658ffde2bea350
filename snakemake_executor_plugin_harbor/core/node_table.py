"""The nodes of the pool: which there are and what state each is in.

Which jobs are on them is the reactor's business. Like the reactor, it changes only by the events that it is given.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from . import actions as act
from . import events as ev
from .lifecycle import node_next
from .model import NodeSpec, NodeState
from .node import NodeView

STRIKES = 3
QUARANTINE_S = 60.0
QUARANTINE_MAX_S = 600.0
STEADY_S = 30.0
"""A connection that held for so long ends the row of failures that its pauses grow with."""
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
STRANGER_BACKOFF_S = (*BACKOFF_S, 120.0, 300.0, 600.0)
"""For a node that has never answered in this run: it is off, perhaps for days."""
OPENING_PAUSE_S = 1.5
"""As long as no node has answered: all of them may be booting, and the run waits for the first one."""


class NodeTable:
    """All nodes by name; `emit` takes the actions that follow from a change."""

    def __init__(self, specs: Iterable[NodeSpec], emit: Callable[[act.Action], None]) -> None:
        self.views: dict[str, NodeView] = {spec.name: NodeView(spec) for spec in specs}
        self._emit = emit
        self._strikes: dict[str, list[str]] = {}
        self._unanswered: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._up_at: dict[str, float] = {}
        self._some_leave = False
        self._met: set[str] = set()
        self._begun = False

    def get(self, name: str | None) -> NodeView | None:
        return self.views.get(name) if name is not None else None

    def connect(self, node: NodeView) -> None:
        self._until.pop(node.spec.name, None)
        if self._move(node, "connect", node.why):
            self._emit(act.Connect(node.spec))

    def up(self, name: str, now: float) -> NodeView | None:
        """The node, if it was awaited."""
        node = self.get(name)
        if node is None or not self._move(node, "ready"):
            return None
        self._up_at[name] = now
        self._met.add(name)
        self._begun = True
        if node.distrusted:
            self._move(node, "misbehaved", "it does not answer when it is to start jobs")
            self._until[name] = now + min(QUARANTINE_MAX_S, QUARANTINE_S * 2 ** (self._unanswered.get(name, 1) - 1))
        return node

    def unshared(self, node: NodeView, why: str) -> None:
        """The node is connected, but it does not see the working directory: it gets no job."""
        self._move(node, "unshared", why)

    def shared(self, node: NodeView) -> None:
        """The node sees the working directory again."""
        self._move(node, "shared")

    def down(self, event: ev.NodeDown, now: float) -> NodeView | None:
        """The connection is gone: the node is tried again later, after a pause that grows. A node that the user has to
        repair is tried again now and then, or not at all (`NodeDown`).
        """
        name, node = event.node, self.get(event.node)
        if node is None:
            return None
        if event.permanent:
            if self._move(node, "rejected", event.reason) and event.pause is not None:
                self._until[name] = now + event.pause
        elif self._move(node, "failed", event.reason) or self._move(node, "lost", event.reason):
            if now - self._up_at.pop(name, now) >= STEADY_S:
                self._failures.pop(name, None)
            self._until[name] = now + max(self._backoff(name), event.pause or 0.0)
        return node

    def _backoff(self, name: str) -> float:
        if not self._begun:
            return OPENING_PAUSE_S
        steps = BACKOFF_S if name in self._met else STRANGER_BACKOFF_S
        count = self._failures.get(name, 0)
        self._failures[name] = count + 1
        return steps[min(count, len(steps) - 1)]

    def strike(self, node: NodeView, who: str, why: str, now: float) -> None:
        """Count a refusal. After three in a row the node gets no job for a minute, then a new chance.

        `who` names what was refused: the same job three times says more about the job than about the node.
        """
        name = node.spec.name
        strikes = self._strikes.setdefault(name, [])
        strikes.append(who)
        if len(strikes) >= STRIKES and len(set(strikes)) > 1 and self._move(node, "misbehaved", why):
            self._until[name] = now + QUARANTINE_S
            del self._strikes[name]

    def distrust(self, name: str) -> None:
        """The node left a start unanswered: when it is connected again, it is quarantined, each time for longer. Then
        it gets one job at a time until it has started one.
        """
        node = self.get(name)
        if node is not None:
            node.distrusted = True
            self._unanswered[name] = self._unanswered.get(name, 0) + 1

    def answered(self, name: str) -> bool:
        """The node started a job. Whether it was distrusted until now."""
        node = self.get(name)
        if node is None or not node.distrusted:
            return False
        node.distrusted = False
        self._unanswered.pop(name, None)
        return True

    def clear_strikes(self, name: str) -> None:
        """A job ended there as jobs do: the node's refusals are no longer in a row."""
        self._strikes.pop(name, None)

    def tick(self, now: float) -> None:
        """Connect again, and end quarantines."""
        for name, until in list(self._until.items()):
            if now >= until:
                self._until.pop(name)
                node = self.views[name]
                if node.state in (NodeState.BACKOFF, NodeState.REJECTED):
                    self.connect(node)
                else:
                    self._move(node, "probation")

    # --- by the user's will ---------------------------------------------------------------------------

    def listed(self, specs: Iterable[NodeSpec]) -> None:
        """The host list is another one now. Who is new joins, who is missing leaves when its jobs have ended, and who
        is to be reached in another way leaves and joins again.
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
                if node.state == NodeState.REJECTED:  # the edit may be what mends it
                    self.connect(node)
            else:
                node.leaving, node.successor = True, spec
        self._some_leave = any(node.leaving for node in self.views.values())
        for spec in wanted.values():
            self._join(spec)

    def drain(self, name: str, reason: str) -> None:
        """Nothing more is placed there; "" lifts it, and has a node that is not connected tried again at once."""
        node = self.get(name)
        if node is not None:
            node.drain = reason
            self._emit(act.NodeChanged(name, node.state, node.why))
            if not reason and node.state in (NodeState.REJECTED, NodeState.BACKOFF):
                self.connect(node)

    def remove_departed(self) -> None:
        """Nodes that leave and hold nothing any more are gone."""
        if not self._some_leave:
            return
        for name, node in list(self.views.items()):
            if node.leaving and not node.reservations:
                self._move(node, "removed", "taken out of the host list")
                memories = (self.views, self._strikes, self._failures, self._until, self._up_at, self._unanswered)
                for memory in memories:
                    memory.pop(name, None)
                self._met.discard(name)
                self._emit(act.Disconnect(name))
                if node.successor is not None:
                    self._join(node.successor)

    def _join(self, spec: NodeSpec) -> None:
        self.views[spec.name] = NodeView(spec)
        self.connect(self.views[spec.name])

    def _move(self, node: NodeView, trigger: str, why: str = "") -> bool:
        after = node_next(node.state, trigger)
        if after is None:
            return False
        node.state, node.why = after, why
        self._emit(act.NodeChanged(node.spec.name, after, why))
        return True


def same_connection(one: NodeSpec, other: NodeSpec) -> bool:
    """Whether the connection that there is serves both: they differ at most in what placement asks."""
    shown = {"slots": None, "mem_mb": None, "gpus": None, "tags": frozenset[str](), "max_load": None, "hours": None}
    return replace(one, **shown) == replace(other, **shown)  # type: ignore[arg-type]
