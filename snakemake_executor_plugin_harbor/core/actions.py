"""Actions: what the pool wants done. Frozen; `pool.py` makes them from events (`events.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .model import JobId, JobState, NodeSpec, NodeState, Outcome, Reservation


@dataclass(frozen=True)
class Prepare:
    """Prepare this attempt for this node, then answer with Prepared or Unprepared."""

    job: JobId
    attempt: int
    node: str
    reservation: Reservation
    why: str


@dataclass(frozen=True)
class SendMessage:
    """A message for a node's agent."""

    node: str
    message: Mapping[str, Any]


@dataclass(frozen=True)
class SendStart:
    """Send the attempt that was prepared: the journal has it by now."""

    job: JobId
    attempt: int
    node: str


@dataclass(frozen=True)
class Connect:
    """Open a node's connection."""

    node: NodeSpec


@dataclass(frozen=True)
class Disconnect:
    """A node has left the pool: close its connection for good."""

    node: str


@dataclass(frozen=True)
class Reconnect:
    """A node does not answer over its connection: end that, so that another one is made."""

    node: str


@dataclass(frozen=True)
class JobStalled:
    """For the user: a job has shown no sign of life for `seconds`; `killed` says that it is ended for that."""

    job: JobId
    node: str
    seconds: float
    killed: bool


@dataclass(frozen=True)
class Fence:
    """Make sure that an attempt which we cannot reach can do no more harm, before the next one starts. None: all."""

    job: JobId
    attempt: int | None


@dataclass(frozen=True)
class JobEnded:
    """A job has ended for good: tell Snakemake."""

    outcome: Outcome


@dataclass(frozen=True)
class JobRenamed:
    """A job goes on under the id that an earlier run gave it."""

    job: JobId
    submitted_as: JobId


@dataclass(frozen=True)
class JobChanged:
    """For the journal: a job's state."""

    job: JobId
    attempt: int
    state: JobState
    node: str | None
    reason: str = ""


@dataclass(frozen=True)
class NodeChanged:
    """For the journal and the user: a node's state."""

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
