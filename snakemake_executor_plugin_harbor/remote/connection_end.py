"""Decides from the end of a connection whether a node is down for a while or rejected, and when to try again."""

from dataclasses import dataclass

from ..core import events as ev
from ..core.protocol import printable

LOGIN_PAUSE_S = 60.0
"""This pause follows a refused login that worked earlier in this run, because servers count these and lock accounts."""
REPAIR_PAUSE_S = 300.0
"""A rejected node is tried again at this interval, because the user may have repaired it."""
HOST_KEY_PAUSE_S = 30.0
"""This is the interval if the host key was the reason. It may be shorter, because nobody has tried to log in."""
REASON_MAX = 2000
"""A reason is cut to this many characters, because a node may have written it."""


@dataclass
class WorkedBefore:
    """Tells which steps of a connection succeeded earlier in this run. A later failure of such a step will pass."""

    login: bool = False
    agent: bool = False


@dataclass(frozen=True)
class ConnectionEnd:
    """Says why a connection ended.

    `permanent`: a retry alone does not help. `kind` is the kind of the ConnectError, or "agent" if the agent did not
    start or gave up.
    """

    reason: str
    permanent: bool = False
    kind: str = "agent"

    def node_down(self, node: str, worked: WorkedBefore) -> ev.NodeDown:
        """Return the event for the pool.

        A permanent failure of a step that worked before does not reject the node. For example, a laptop that wakes up
        has no name server yet.
        """
        reason = printable(self.reason, REASON_MAX) or "the connection was closed"
        if not self.permanent:
            return ev.NodeDown(node, reason)
        if self.kind == "auth":
            return ev.NodeDown(node, reason, pause=LOGIN_PAUSE_S) if worked.login else ev.NodeDown(node, reason, True)
        if worked.agent if self.kind == "agent" else worked.login:
            return ev.NodeDown(node, reason)
        pause = HOST_KEY_PAUSE_S if self.kind.startswith("host_key") else REPAIR_PAUSE_S
        return ev.NodeDown(node, reason, permanent=True, pause=pause)
