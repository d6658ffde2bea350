"""Events: what happens to the pool. Frozen; `pool.py` turns them into actions (`actions.py`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import JobId, JobSpec, Load, NodeFacts, NodeSpec, Reservation


@dataclass(frozen=True)
class Submitted:
    """Snakemake handed jobs over."""

    jobs: tuple[JobSpec, ...]


@dataclass(frozen=True)
class Prepared:
    """The controller has prepared an attempt: it can be sent. `log` is the path of its log."""

    job: JobId
    attempt: int
    log: str | None = None


@dataclass(frozen=True)
class PrepareFailed:
    """Preparing an attempt failed on the controller, or ended it: `trigger` is one of lifecycle's."""

    job: JobId
    attempt: int
    trigger: str
    reason: str = ""


@dataclass(frozen=True)
class Adopted:
    """A submitted job is one that an earlier controller started: it runs on a node, or ended there meanwhile.

    It keeps its earlier id and attempt. `submitted_as` is the id under which it was submitted in this run, if that is
    another one. `reservation` is what it holds on the node. `log` is the path of its log.
    """

    job: JobId
    attempt: int
    node: str
    reservation: Reservation
    exit: Mapping[str, Any] | None = None
    submitted_as: JobId | None = None
    log: str | None = None


@dataclass(frozen=True)
class NodeRecord:
    """One spool record that a node listed after hello; `hash` says which job it is, `meta` is what we sent. `foreign`:
    it was started from the same working directory when that had another id.
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
    """A node said hello and listed the jobs that it knows. `unusable` says why it can hold no job now, if it cannot."""

    node: str
    facts: NodeFacts
    records: tuple[NodeRecord, ...] = ()
    unusable: str = ""


@dataclass(frozen=True)
class NodeDown:
    """A connection ended or could not be made.

    `permanent`: the user has to repair something, and the node is retried after `pause` seconds, or never if that is
    None. Otherwise the pool chooses the pause, and `pause` is its minimum.
    """

    node: str
    reason: str
    permanent: bool = False
    pause: float | None = None


@dataclass(frozen=True)
class LoadMeasured:
    """A load sample arrived."""

    node: str
    load: Load


@dataclass(frozen=True)
class Started:
    """The node started the job."""

    node: str
    job: JobId
    attempt: int


@dataclass(frozen=True)
class Refused:
    """The node did not start the attempt.

    `kind` says whose fault it is. The node's: missing (`path` says what), disk, fork, unshared (it has lost the working
    directory). The job's: job. The controller's: fenced (the attempt was given up). Either's: error.
    """

    node: str
    job: JobId
    attempt: int
    kind: str
    reason: str = ""
    path: str | None = None


@dataclass(frozen=True)
class Progressed:
    """The job said how far it is."""

    node: str
    job: JobId
    attempt: int
    done: float
    total: float


@dataclass(frozen=True)
class AttemptsActive:
    """These attempts have written something since the last such message."""

    node: str
    attempts: tuple[tuple[JobId, int], ...]


@dataclass(frozen=True)
class Exited:
    """The attempt ended; `message` is the agent's."""

    node: str
    job: JobId
    attempt: int
    code: int
    reason: str | None
    message: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AttemptUnknown:
    """The node does not know the attempt that we asked about."""

    node: str
    job: JobId
    attempt: int


@dataclass(frozen=True)
class CancelJob:
    """The user wants one job ended."""

    job: JobId


@dataclass(frozen=True)
class CancelAll:
    """Ctrl-C: end everything; TERM first, KILL after `grace` seconds."""

    grace: float


@dataclass(frozen=True)
class FenceAll:
    """The time for ending jobs is over: fence those whose end is not known."""


@dataclass(frozen=True)
class FenceResult:
    """A fence could not be written yet, or (`written`) was written after all: its time counts from now."""

    job: JobId
    attempt: int | None
    written: bool


@dataclass(frozen=True)
class Halt:
    """Nothing more is to start: a final failure without --keep-going, or SIGTERM. What runs may finish."""


@dataclass(frozen=True)
class HostListChanged:
    """The host list as it is now."""

    nodes: tuple[NodeSpec, ...]


@dataclass(frozen=True)
class DrainChanged:
    """The user wants nothing more placed on a node, for `reason`; an empty one lifts that."""

    node: str
    reason: str


@dataclass(frozen=True)
class Tick:
    """Time has passed. `hour` is the controller's local hour of day."""

    hour: int | None = None


Event = (
    Submitted
    | Prepared
    | PrepareFailed
    | Adopted
    | NodeUp
    | NodeDown
    | LoadMeasured
    | Started
    | Refused
    | Progressed
    | AttemptsActive
    | Exited
    | AttemptUnknown
    | CancelJob
    | CancelAll
    | FenceAll
    | FenceResult
    | Halt
    | HostListChanged
    | DrainChanged
    | Tick
)
