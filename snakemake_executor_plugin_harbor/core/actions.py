"""Actions: what the pool wants the controller to do. They are frozen. `pool.py` makes them from events (`events.py`).

`SendStart`, `SendMessage`, `Connect`, `Disconnect`, `Reconnect`, `Prepare` and `Fence` are requests. `JobEnded`,
`JobRenamed`, `JobChanged`, `JobStalled` and `NodeChanged` report what has happened in the pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import JobId, JobState, NodeSpec, NodeState, Outcome, Reservation


@dataclass(frozen=True)
class Prepare:
    """Prepare this attempt for this node. The event `Prepared` or `PrepareFailed` is the answer."""

    job: JobId
    attempt: int
    node: str
    reservation: Reservation
    why: str


@dataclass(frozen=True)
class SendStart:
    """Send the start message of an attempt that was prepared. The journal already records the attempt as sent."""

    job: JobId
    attempt: int
    node: str


@dataclass(frozen=True)
class SendMessage:
    """Send a message to a node's agent."""

    node: str
    message: Mapping[str, Any]


@dataclass(frozen=True)
class Connect:
    """Open a connection to a node."""

    node: NodeSpec


@dataclass(frozen=True)
class Disconnect:
    """Close the connection to a node for good, because the node has left the pool."""

    node: str


@dataclass(frozen=True)
class Reconnect:
    """Close the connection to a node that does not answer over it, so that a new one is opened."""

    node: str


@dataclass(frozen=True)
class JobStalled:
    """A job has shown no activity for `seconds`. `killed` says that it is ended for this reason. `last` says that it is
    not tried again then, because it has failed too many nodes.
    """

    job: JobId
    node: str
    seconds: float
    killed: bool
    last: bool = False


@dataclass(frozen=True)
class Fence:
    """Make sure that an attempt on an unreachable node cannot write outputs any more, before the next attempt starts.
    `attempt` None means all attempts of the job.
    """

    job: JobId
    attempt: int | None


@dataclass(frozen=True)
class JobEnded:
    """A job has ended for good, so Snakemake has to be informed."""

    outcome: Outcome


@dataclass(frozen=True)
class JobRenamed:
    """A job that was submitted as `submitted_as` continues under the id `job`, which an earlier run gave it."""

    job: JobId
    submitted_as: JobId


@dataclass(frozen=True)
class JobChanged:
    """A job has entered a state, or the reason of its state has changed. The journal records it."""

    job: JobId
    attempt: int
    state: JobState
    node: str | None
    reason: str = ""


@dataclass(frozen=True)
class NodeChanged:
    """A node has entered a state. The journal records it, and the user is informed."""

    node: str
    state: NodeState
    reason: str = ""


Action = (
    Prepare
    | SendStart
    | SendMessage
    | Connect
    | Disconnect
    | Reconnect
    | JobStalled
    | Fence
    | JobEnded
    | JobRenamed
    | JobChanged
    | NodeChanged
)


def cancel_message(node: str, job: JobId, attempt: int, grace: float) -> SendMessage:
    """Return the action that cancels an attempt. It gets SIGTERM first, and SIGKILL after `grace` seconds."""
    return SendMessage(node, {"t": "cancel", "job": job, "attempt": attempt, "grace": grace})
