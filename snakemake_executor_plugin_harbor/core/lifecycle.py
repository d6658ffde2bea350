"""The two state machines as data. These tables hold every transition that a job or a node can make.

The job table and the node table call `job_next` and `node_next`, and never set a state in another way. The diagrams in
`docs/states.md` are drawn from these tables. A pair of state and trigger that is not in the table is ignored. That is
normal for a late message from a node.
"""

from .model import JobState as J
from .model import NodeState as N

JOB_STATES: dict[J, str] = {
    J.QUEUED: "The job waits for a node.",
    J.PLACED: "The job holds a reservation on a node, and the controller prepares its start message.",
    J.STARTING: "The start message was sent, and the node has not confirmed the start yet.",
    J.RUNNING: "The node has confirmed that the job runs.",
    J.UNREACHABLE: "The connection to the node was lost. The job may still run there, and its reservation stays.",
    J.CANCELLING: "A cancel message was sent to the node, and the node has not confirmed the end yet.",
    J.SUCCEEDED: "The job has ended well, or its outputs came from Snakemake's cache.",
    J.FAILED: "The job itself has failed, could not be prepared, was lost too often, or fits on no node.",
    J.CANCELLED: "The job was ended because the user wanted so.",
    J.WITHDRAWN: "The job was given back to Snakemake. Either the run is ending and it has not started, or its outputs "
    "could not be fetched, or a part of a group is done and the rest follows.",
}
"""The meaning of each job state."""

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
"""The states that a job never leaves."""
ON_NODE = frozenset({J.STARTING, J.RUNNING, J.UNREACHABLE, J.CANCELLING})
"""The states in which a job may run on its node."""
HOLDING = ON_NODE | {J.PLACED}
"""The states in which a job holds a reservation."""

CONNECTED = frozenset({N.READY, N.QUARANTINED, N.UNUSABLE})
"""The states in which a node has a connection."""

NODE_STATES: dict[N, str] = {
    N.OFFLINE: "No connection to the node has been tried yet.",
    N.CONNECTING: "A connection to the node is being opened.",
    N.READY: "The node is connected and takes jobs.",
    N.BACKOFF: "The connection was lost or could not be opened. It is tried again after a pause.",
    N.QUARANTINED: "The node is connected, but it has refused several starts or has not answered one. It takes no jobs "
    "for a while.",
    N.UNUSABLE: "The node is connected, but it does not see the working directory. It takes no jobs until it does.",
    N.REJECTED: "The user has to repair something before the node can be used, such as its host key or the login.",
    N.REMOVED: "The node was taken out of the host list, and its jobs have ended.",
}
"""The meaning of each node state."""

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
    """Return the next state, or None if the trigger does not apply (a late or repeated message)."""
    return JOB.get((state, trigger))


def node_next(state: N, trigger: str) -> N | None:
    """Return the next state, or None if the trigger does not apply."""
    return NODE.get((state, trigger))
