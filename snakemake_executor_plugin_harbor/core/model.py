"""What harbor talks about: nodes, jobs, loads, requests. Frozen data, no behaviour beyond arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JobId = str
"""`RUN/JOB`: unique over all runs, so that a restarted controller knows which run a job came from."""


class JobState(StrEnum):
    """Where a job is; the transitions are in `lifecycle`."""

    QUEUED = "queued"
    PLACED = "placed"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"


class NodeState(StrEnum):
    """Where a node is; the transitions are in `lifecycle`."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    READY = "ready"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    UNUSABLE = "unusable"
    REJECTED = "rejected"
    REMOVED = "removed"


@dataclass(frozen=True)
class NodeSpec:
    """One line of the host list. `slots` None means as many as the node has cores."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    slots: int | None = None
    mem_mb: int | None = None
    gpus: int | None = None
    tags: frozenset[str] = frozenset()
    scratch: str | None = None
    python: str | None = None
    setup: str | None = None
    workdir: str | None = None
    max_load: float | None = None
    hours: tuple[int, int] | None = None
    local: bool = False


@dataclass(frozen=True)
class NodeFacts:
    """What a node said of itself in `hello`; does not change while it is connected.

    `shared`: the node sees the working directory. `quota`: `cores` is the node's own CPU quota (a container), so nodes
    with the same boot id add up.
    """

    cores: int
    mem_mb: int
    gpus: tuple[int, ...] = ()
    boot_id: str = ""
    host: str = ""
    user: str = ""
    python: str = ""
    scratch: str = ""
    tmpdir: str = "/tmp"
    path: str = ""
    time: float = 0.0
    shared: bool = False
    same: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    quota: bool = False


@dataclass(frozen=True)
class Load:
    """One sample of a node: cores that are busy, and whose they are.

    `ours` holds busy cores of each attempt that still ran when the sample was taken (key: `JOB#ATTEMPT`);
    `ended` what our other processes used. What remains of `busy` belongs to other people.
    `shared` is false while the node has lost the working directory; `workdir_free_mb` is the free space of the file
    system that the working directory lies on, None where that is unknown.
    """

    busy: float = 0.0
    ours: Mapping[str, float] = field(default_factory=dict)
    ended: float = 0.0
    load1: float = 0.0
    mem_available_mb: int | None = None
    disk_free_mb: int | None = None
    users: tuple[str, ...] = ()
    shared: bool = True
    workdir_free_mb: int | None = None

    @property
    def foreign(self) -> float:
        return max(0.0, self.busy - self.ended - sum(self.ours.values()))


@dataclass(frozen=True)
class Request:
    """What a job asks of a node. `needs` are absolute paths that must exist there."""

    cores: int = 1
    mem_mb: int = 0
    disk_mb: int = 0
    gpus: int = 0
    node: str | None = None
    constraint: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttemptLocation:
    """Where an earlier run started an attempt. One without a node is not known. `fenced`: a fence was written."""

    node: str = ""
    host: str = ""
    boot_id: str = ""
    scratch: str = ""
    fenced: bool = False


@dataclass(frozen=True)
class JobSpec:
    """A job as the pool sees it: what it asks for and how it ranks in the queue.

    `attempt` is the number of its first attempt in this run. It is larger than 1 if Snakemake retries the job.
    `stall_after` is in seconds; None means the pool's own value. `earlier_ids` are ids under which earlier runs started
    the job and which may still run. `locations` says where each of them was started. An id without a location was
    started on a node of this pool. `avoid` are nodes on which earlier tries of the job failed. Other nodes are
    preferred.
    """

    id: JobId
    request: Request
    attempt: int = 1
    rule: str = ""
    priority: int = 0
    depth: int = 0
    stall_after: float | None = None
    earlier_ids: tuple[JobId, ...] = ()
    locations: Mapping[JobId, AttemptLocation] = field(default_factory=dict)
    avoid: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reservation:
    """What a placed job holds on its node: slots (numbered from 0) and GPUs (their indices there)."""

    slots: tuple[int, ...]
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended, for Snakemake and for the journal. `exit` is the agent's `exited` message, if one came."""

    job: JobId
    attempt: int
    state: JobState
    node: str | None = None
    reason: str = ""
    exit: Mapping[str, Any] | None = None


def attempt_key(job: JobId, attempt: int) -> str:
    """The name of one attempt, as in load samples."""
    return f"{job}#{attempt}"
