"""The objects that the dispatcher calls. It knows only their interfaces, because they lie in higher layers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from ..core import actions as act
from ..core import events as ev
from ..core.model import JobId, NodeFacts, NodeSpec
from ..core.protocol import Message
from ..remote.transport import Transport
from .wait_recorder import Stuck
from .workers import Listener, Preparer


class NodeAccess(Protocol):
    """Which nodes the pool has, how they are reached, and which of them can be used.

    A link's threads call `transport` and `welcome`. The dispatcher's thread calls the others.
    """

    def transport(self, node: NodeSpec) -> Transport:
        """A transport to the node, which is not connected yet."""

    def welcome(self, node: NodeSpec) -> Message:
        """The first message that the node gets."""

    def refusal(self, node: str, facts: NodeFacts) -> str | None:
        """The reason why a node that answered cannot be used, or None if it can."""

    def changed_hosts(self) -> tuple[NodeSpec, ...] | None:
        """The host list if it has changed since the last call, or else None."""


class JobSource(Protocol):
    """Where jobs come from. The dispatcher's thread calls it."""

    def adopt_waiting(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """Adopt those of the waiting jobs that an earlier run started and that a node has listed by now."""

    def capacity_changed(self) -> None:
        """The pool has other nodes or other slots than before."""


class Notices(Protocol):
    """Messages for the user. The dispatcher's thread calls it."""

    def report_change(self, change: act.NodeChanged | act.Stalled) -> None:
        """Report a node that comes or goes, or a job that seems to hang."""

    def report_waiting(self, groups: Iterable[Stuck], now: float) -> None:
        """Report jobs that wait, and why."""

    def warn(self, text: str) -> None:
        """Report trouble that the run survives."""


@dataclass(frozen=True)
class Client:
    """All objects that the dispatcher and its threads call.

    `failed` is called when a thread of the dispatcher has failed, after which no job is ever reported again.
    """

    nodes: NodeAccess
    jobs: JobSource
    start_messages: Preparer
    end_reports: Listener
    notices: Notices
    failed: Callable[[BaseException], None]
