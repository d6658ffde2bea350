"""Events: what happens to the pool. They are frozen. `pool.py` turns them into actions (`actions.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import JobId, JobSpec, Load, NodeFacts, NodeSpec, Reservation

# --- attempts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """The controller has prepared an attempt, so it can be sent. `log` is the path of its log."""

    job: JobId
    attempt: int
    log: str | None = None


@dataclass(frozen=True)
class PrepareFailed:
    """The preparation of an attempt has failed, or it has shown that the job need not run. `trigger` is one of
    lifecycle's triggers. `fault` says why files could not be sent to the node: link, disk, node or changed.
    """

    job: JobId
    attempt: int
    trigger: str
    reason: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Adopted:
    """A submitted job is one that an earlier controller started. It runs on a node, or it has ended there.

    The job keeps its earlier id and attempt. `submitted_as` is the id under which it was submitted in this run, if that
    is another one. `reservation` is what it holds on the node. `exit` is the agent's `exited` message, if it has ended.
    `log` is the path of its log. `started` is the time of its start by the controller's clock, if that is known.
    `staged` says that its files were sent to the node.
    """

    job: JobId
    attempt: int
    node: str
    reservation: Reservation
    exit: Mapping[str, Any] | None = None
    submitted_as: JobId | None = None
    log: str | None = None
    started: float | None = None
    staged: bool = False


@dataclass(frozen=True)
class Started:
    """The node has started the job."""

    node: str
    job: JobId
    attempt: int


@dataclass(frozen=True)
class Refused:
    """The node did not start the attempt.

    `kind` says whose fault it is. The node's fault: missing (`path` is missing there), disk, fork, unshared (the node
    has lost the working directory). The job's fault: job. The controller's fault: fenced (the attempt was given up).
    The fault of the node or of the job: error.
    """

    node: str
    job: JobId
    attempt: int
    kind: str
    reason: str = ""
    path: str | None = None


@dataclass(frozen=True)
class Progressed:
    """The job has reported its progress."""

    node: str
    job: JobId
    attempt: int
    done: float
    total: float


@dataclass(frozen=True)
class AttemptsActive:
    """These attempts have written output since the last event of this type."""

    node: str
    attempts: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True)
class Exited:
    """The attempt has ended. `message` is the agent's message."""

    node: str
    job: JobId
    attempt: int
    code: int
    reason: str | None
    message: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttemptUnknown:
    """The node does not know the attempt that the controller has asked about."""

    node: str
    job: JobId
    attempt: int


# --- nodes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NodeRecord:
    """A record in a node's spool, which the node has listed after its hello.

    `hash` identifies the job. `meta` is what the controller has sent with the start message. `foreign` means that the
    attempt was started from the same working directory when the directory had another id.
    """

    job: JobId
    attempt: int
    running: bool
    exit: Mapping[str, Any] | None = None
    hash: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    foreign: bool = False


@dataclass(frozen=True)
class NodeUp:
    """A node has sent its hello and has listed its records. If the node can hold no job now, `unusable` says why."""

    node: str
    facts: NodeFacts
    records: tuple[NodeRecord, ...] = ()
    unusable: str = ""


@dataclass(frozen=True)
class NodeDown:
    """A connection has ended or could not be made.

    `permanent` means that the user has to repair something. Such a node is retried after `pause` seconds, or never if
    `pause` is None. Otherwise the pool chooses the pause, and `pause` is its minimum.
    """

    node: str
    reason: str
    permanent: bool = False
    pause: float | None = None


@dataclass(frozen=True)
class LoadMeasured:
    """A node has sent a load sample."""

    node: str
    load: Load


@dataclass(frozen=True)
class HostListChanged:
    """The user has edited the host list. `nodes` is the new list."""

    nodes: tuple[NodeSpec, ...]


@dataclass(frozen=True)
class DrainChanged:
    """The user wants no more jobs placed on a node, for this reason. An empty reason ends the drain."""

    node: str
    reason: str


@dataclass(frozen=True)
class NodeForgotten:
    """The user says that a node which does not answer is dead. Its jobs start elsewhere at once."""

    node: str


# --- the run -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Submitted:
    """Snakemake has submitted jobs."""

    jobs: tuple[JobSpec, ...]


@dataclass(frozen=True)
class CancelJob:
    """The user wants to end one job."""

    job: JobId


@dataclass(frozen=True)
class CancelAll:
    """Ctrl-C: every job has to end. Each gets SIGTERM first, and SIGKILL after `grace` seconds."""

    grace: float


@dataclass(frozen=True)
class FenceAll:
    """The time for ending jobs has passed. Fence all attempts whose end is unknown."""


@dataclass(frozen=True)
class FenceResult:
    """A fence could not be written yet. If `written`, it has been written later, and `fence_wait` begins now."""

    job: JobId
    attempt: int | None
    written: bool


@dataclass(frozen=True)
class Halt:
    """No more jobs may start, because of a final failure without --keep-going or because of SIGTERM. Running jobs may
    finish.
    """


@dataclass(frozen=True)
class Tick:
    """Time has passed. `hour` is the controller's local hour of the day."""

    hour: int | None = None


AttemptEvent = (
    Prepared | PrepareFailed | Adopted | Started | Refused | Progressed | AttemptsActive | Exited | AttemptUnknown
)
NodeEvent = NodeUp | NodeDown | LoadMeasured | HostListChanged | DrainChanged | NodeForgotten
RunEvent = Submitted | CancelJob | CancelAll | FenceAll | FenceResult | Halt | Tick
Event = AttemptEvent | NodeEvent | RunEvent
