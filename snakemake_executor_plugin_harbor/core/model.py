"""The data that harbor works with: nodes, jobs, loads, requests. All of it is frozen and has no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

JobId = str
"""The id of a job has the form `RUN/JOB`. It is unique over all runs, so a restarted controller sees from which run a
job came."""


BY_USER = "cancelled by the user"
"""The reason of a job that was ended by `harbor cancel`."""


class JobState(StrEnum):
    """The state of a job. `lifecycle` holds the transitions and the meaning of each state."""

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
    """The state of a node. `lifecycle` holds the transitions and the meaning of each state."""

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
    """One entry of the host list. None means that the user has not set the value.

    Without `slots`, a node has as many slots as cores. `hours` are the hours of the day in which the node takes jobs.
    `staging` is auto, always or never. `local` means that the node is the controller's own machine, reached without
    SSH.
    """

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
    max_load: float | None = None
    hours: tuple[int, int] | None = None
    staging: str | None = None
    local: bool = False

    def is_staged(self, shares: bool, pool: str | None = None) -> bool:
        """Return whether the files of jobs are sent to the node and fetched.

        `shares` says that the node has the working directory. `pool` is the setting of nodes without one of their own.
        """
        mode = self.staging or pool or "auto"
        return not self.local and (mode == "always" or (mode == "auto" and not shares))


@dataclass(frozen=True)
class NodeFacts:
    """The facts that a node has sent in its hello. They do not change while it is connected.

    `python` is the version of the Python that the agent runs in, and `interpreter` is the Python for scripts.
    `snakemake` is the Python for jobs that a Snakemake runs there, and its Snakemake's version. `path` is the node's
    PATH. `time` is its clock. `shared` means that the node sees the working directory. `staged` means that
    the controller sends the files of jobs to the node and fetches them. `shared_paths` are paths that are the same on
    the node and on the controller. `quota` means that `cores` is the node's own CPU quota,
    as in a container. So the cores of such nodes with the same boot id add up. `noise` is the beginning of what its
    login shell printed before harbor's agent started, and `noise_bytes` is the size of all of it.
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
    staged: bool = False
    shared_paths: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    quota: bool = False
    noise: str = ""
    noise_bytes: int = 0
    uid: int | None = None
    interpreter: str = ""
    snakemake: tuple[str, str] | None = None


@dataclass(frozen=True)
class Disk:
    """The part of a node's disk that `harbor doctor` asks for. `inodes` are the files that can still be made on it."""

    noexec: bool = False
    inodes: int | None = None


@dataclass(frozen=True)
class Checkup:
    """A node's answers to the questions that only `harbor doctor` asks.

    `charmap` is the encoding of its locale. `state` is what the path of the working directory is there: here, other,
    missing, or an error. `resolved` means that the directory is there under its resolved path. `made` is the reason why
    the node could not make a file in it. `missing` are paths that jobs may need. `snakemake` is the version that the
    controller's Python imports there. `logout` is what systemd does with processes at the end of the session.
    """

    charmap: str = ""
    bash: bool = True
    state: str = ""
    resolved: bool = False
    made: str = ""
    missing: tuple[str, ...] = ()
    snakemake: str = ""
    logout: str = ""
    workdir: Disk = Disk()
    scratch: Disk = Disk()


@dataclass(frozen=True)
class StoredRecords:
    """The records of attempts that a node keeps for one working directory, for `harbor clean`.

    `owner` is the directory's id, and `workdir` its path on the node. `busy` of the attempts may still run. `changed`
    is when the node last wrote one of the records, by its clock.
    """

    owner: str
    workdir: str
    attempts: int
    busy: int
    bytes: int
    changed: float


@dataclass(frozen=True)
class Load:
    """A load sample of a node.

    `busy` are the cores that were busy since the last sample. `ours` holds the busy cores of each attempt that still
    ran when the sample was taken, by attempt key (`JOB#ATTEMPT`). `ended` are the busy cores of our processes that have
    ended since the last sample. The rest of `busy` belongs to other people. `shared` is false while the node does not
    see the working directory. `workdir_free_mb` is the free space of the file system of the working directory (None:
    unknown).
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
    """The resources that a job asks of a node. `node` pins the job to a node. `task` pins it to this number among the
    jobs of its node. `constraint` are tags that the node must have. `needs` are absolute paths that must exist there.
    `unstaged` is the reason why the job needs the working directory itself. It is empty if the job's files can be sent.
    `snakemake` is the version of Snakemake that runs the job on its node, and why it does.
    `sending` holds the nodes to which its inputs would have to be sent first, with the expected time (seconds).
    """

    cores: int = 1
    mem_mb: int = 0
    disk_mb: int = 0
    gpus: int = 0
    node: str | None = None
    constraint: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    unstaged: str = ""
    snakemake: tuple[str, str] | None = None
    sending: tuple[tuple[str, float], ...] = ()
    task: int | None = None


@dataclass(frozen=True)
class AttemptLocation:
    """The place where an earlier run started an attempt. Without a node, the place is unknown. `fenced` means that a
    fence for the attempt was written.
    """

    node: str = ""
    host: str = ""
    boot_id: str = ""
    scratch: str = ""
    fenced: bool = False


@dataclass(frozen=True)
class JobSpec:
    """A job as it is submitted to the pool, with what it asks for and its rank in the queue.

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
    """The slots (numbered from 0) and GPUs (by their index) that a placed job holds on its node. `task` is its number
    among the jobs of the node, which is Slurm's local id.
    """

    slots: tuple[int, ...]
    gpus: tuple[int, ...] = ()
    task: int = 0


@dataclass(frozen=True)
class Outcome:
    """The end of a job, for Snakemake and for the journal. `exit` is the agent's `exited` message, if one came."""

    job: JobId
    attempt: int
    state: JobState
    node: str | None = None
    reason: str = ""
    exit: Mapping[str, Any] | None = None


def attempt_key(job: JobId, attempt: int) -> str:
    """Return the key of an attempt, which load samples use too."""
    return f"{job}#{attempt}"


def without_name(node: str, why: str) -> str:
    """Return a reason without the name of its node, for places where the name stands before it."""
    return why.removeprefix(f"node {node}: ")
