"""The two state machines, as data: every transition that a job or a node can make is in these tables.

The reactor (`pool`) asks `job_next` and `node_next` and never sets a state by itself; the diagrams in
`docs/architecture.md` are drawn from the same tables. A (state, trigger) that is not listed is illegal: the
reactor ignores it when it comes from a node (a late message), and it is a bug when it comes from ourselves.
"""

from .model import JobState as J
from .model import NodeState as N

JOB: dict[tuple[J, str], J] = {
    (J.QUEUED, "placed"): J.PLACED,
    (J.QUEUED, "adopted"): J.RUNNING,
    (J.QUEUED, "impossible"): J.FAILED,
    (J.QUEUED, "cancel"): J.CANCELLED,
    (J.QUEUED, "withdraw"): J.WITHDRAWN,
    (J.PLACED, "sent"): J.STARTING,
    (J.PLACED, "unsent"): J.QUEUED,
    (J.PLACED, "unprepared"): J.FAILED,
    (J.PLACED, "cached"): J.SUCCEEDED,
    (J.PLACED, "withdraw"): J.WITHDRAWN,
    (J.STARTING, "started"): J.RUNNING,
    (J.STARTING, "exited-ok"): J.SUCCEEDED,
    (J.STARTING, "exited-bad"): J.FAILED,
    (J.STARTING, "lost"): J.QUEUED,
    (J.STARTING, "refused"): J.QUEUED,
    (J.STARTING, "impossible"): J.FAILED,
    (J.STARTING, "channel-lost"): J.UNREACHABLE,
    (J.STARTING, "cancel"): J.CANCELLING,
    (J.RUNNING, "exited-ok"): J.SUCCEEDED,
    (J.RUNNING, "exited-bad"): J.FAILED,
    (J.RUNNING, "lost"): J.QUEUED,
    (J.RUNNING, "channel-lost"): J.UNREACHABLE,
    (J.RUNNING, "cancel"): J.CANCELLING,
    (J.UNREACHABLE, "found"): J.RUNNING,
    (J.UNREACHABLE, "exited-ok"): J.SUCCEEDED,
    (J.UNREACHABLE, "exited-bad"): J.FAILED,
    (J.UNREACHABLE, "lost"): J.QUEUED,
    (J.UNREACHABLE, "cancel"): J.CANCELLED,
    (J.CANCELLING, "exited-ok"): J.CANCELLED,
    (J.CANCELLING, "exited-bad"): J.CANCELLED,
    (J.CANCELLING, "refused"): J.CANCELLED,
    (J.CANCELLING, "lost"): J.CANCELLED,
    (J.CANCELLING, "channel-lost"): J.CANCELLED,
    (J.STARTING, "crashed"): J.FAILED,
    (J.RUNNING, "crashed"): J.FAILED,
    (J.UNREACHABLE, "crashed"): J.FAILED,
}

TERMINAL = frozenset({J.SUCCEEDED, J.FAILED, J.CANCELLED, J.WITHDRAWN})
ON_NODE = frozenset({J.STARTING, J.RUNNING, J.UNREACHABLE, J.CANCELLING})
HOLDING = ON_NODE | {J.PLACED}
"""States in which a job holds a reservation."""

CONNECTED = frozenset({N.READY, N.QUARANTINED, N.UNUSABLE})
"""States in which a node can be talked to."""

NODE: dict[tuple[N, str], N] = {
    (N.OFFLINE, "connect"): N.CONNECTING,
    (N.CONNECTING, "ready"): N.READY,
    (N.CONNECTING, "failed"): N.BACKOFF,
    (N.CONNECTING, "rejected"): N.REJECTED,
    (N.READY, "lost"): N.BACKOFF,
    (N.READY, "misbehaved"): N.QUARANTINED,
    (N.QUARANTINED, "probation"): N.READY,
    (N.QUARANTINED, "lost"): N.BACKOFF,
    (N.QUARANTINED, "unshared"): N.UNUSABLE,
    (N.READY, "unshared"): N.UNUSABLE,
    (N.UNUSABLE, "shared"): N.READY,
    (N.UNUSABLE, "lost"): N.BACKOFF,
    (N.BACKOFF, "connect"): N.CONNECTING,
    (N.REJECTED, "connect"): N.CONNECTING,
    **{(state, "removed"): N.REMOVED for state in N if state != N.REMOVED},
}


def job_next(state: J, trigger: str) -> J | None:
    """The state that follows, or None where the trigger does not apply (a late or repeated message)."""
    return JOB.get((state, trigger))


def node_next(state: N, trigger: str) -> N | None:
    """The state that follows, or None where the trigger does not apply."""
    return NODE.get((state, trigger))
