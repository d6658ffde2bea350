"""A job as the reactor keeps it, and the meaning of the messages about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import events as ev
from .feasibility import Refusal
from .model import JobId, JobSpec, JobState, Reservation, attempt_key
from .progress import Progress

NO_RESERVATION = Reservation(())
NodeAttempt = tuple[str, JobId, int]
"""An attempt on a node: the node, the job and the number of the attempt."""
LOST_REASONS = {
    "lost": "its agent and the guardian were killed",
    "cancelled": "an earlier controller ended it",
    "fenced": "it had been given up as unreachable",
    "shutdown": "the node was shut down",
    "unshared": "the node had lost the working directory",
}
"""Reasons of ends that say nothing about the job itself. The job is retried, and Snakemake is not informed."""
OWN_LINE = "harbor: "
SAID_MAX = 500
STALLED = "no output and no progress"
"""The reason of a job that runs and has stalled begins so."""
EXTERNAL_REASONS = frozenset({"cancelled", "fenced", "shutdown", "unshared"})
"""Those of the lost reasons that no job can cause. They do not count towards the limit of lost attempts."""


@dataclass
class Job:
    """One unfinished job of the pool. Only the reactor changes it.

    `since` is the time at which the job entered its present state. `last_active` is the time of the last message that
    showed activity of the attempt (0: none came yet). `times_lost` counts the job's lost attempts. `outages_before`
    counts the node outages of this run that happened before the job was submitted. `times_refused` counts the starts
    that nodes refused for a reason that may be the job's fault. `queue_entry` is the job's entry in the waiting queue.
    `cancelled_because` is the reason for which the job is to end, if it is. `staged` says that its attempt runs in a
    directory of its own on the node, so it cannot disturb the next one.

    The job is not placed while an attempt of an earlier run may still write its outputs (see `earlier_attempts.py`):
    `maybe_running_on` are nodes that may run such an attempt and have not answered. `blockers` are such attempts that
    are being ended. `unfenced` are attempts whose fence could not be written yet. `maybe_running_elsewhere` is set if
    such an attempt may run on a node that cannot be asked. `earlier_decided` is set once it is decided what to do
    about the attempts of earlier runs.
    """

    spec: JobSpec
    order: int
    state: JobState = JobState.QUEUED
    attempt: int = 1
    node: str | None = None
    reservation: Reservation = NO_RESERVATION
    since: float = 0.0
    last_active: float = 0.0
    stalled: bool = False
    not_before: float = 0.0
    fenced_at: float | None = None
    staged: bool = False
    times_lost: int = 0
    outages_before: int = 0
    times_refused: int = 0
    cancelled_because: str = ""
    maybe_running_on: set[str] = field(default_factory=set)
    blockers: set[NodeAttempt] = field(default_factory=set)
    unfenced: set[tuple[JobId, int | None]] = field(default_factory=set)
    maybe_running_elsewhere: bool = False
    earlier_decided: bool = False
    avoid: set[str] = field(default_factory=set)
    refusal: Refusal | None = None
    queue_entry: object = None
    progress: Progress | None = None
    why: str = ""

    @property
    def key(self) -> str:
        return attempt_key(self.spec.id, self.attempt)


def impossible_message(refusal: Refusal) -> str:
    """Return the message for a job that no node can hold, with the reason of each node in a line of its own."""
    if refusal.hint and not refusal.reasons:
        return refusal.hint
    lines = [f"  {name} {why}" for name, why in sorted(refusal.reasons.items())]
    hint = [refusal.hint] if refusal.hint else []
    return "\n".join(["no node of the pool can ever hold it:", *lines, *hint])


def exit_event(node: str, job: JobId, attempt: int, message: Mapping[str, Any]) -> ev.Exited:
    """Return the event for an agent's `exited` message. A spool record keeps a copy of that message."""
    reason = message.get("reason")
    code = message.get("code")
    return ev.Exited(
        node,
        job,
        attempt,
        code if isinstance(code, int) else -1,
        reason if isinstance(reason, str) else None,
        message,
    )


def reservation_of(meta: Mapping[str, Any]) -> Reservation:
    """Return the reservation that is written in the `meta` of a spool record."""

    def numbers(value: object) -> tuple[int, ...]:
        return tuple(v for v in value if isinstance(v, int)) if isinstance(value, list) else ()

    task = numbers([meta.get("task")]) or (0,)
    return Reservation(numbers(meta.get("slots")), numbers(meta.get("gpus")), task[0])


def run_seconds(message: Mapping[str, Any], default: float) -> float:
    """Return the seconds that an attempt took by its node's clock, or `default` if the clock makes no sense."""
    start, end = message.get("start"), message.get("end")
    if isinstance(start, (int, float)) and isinstance(end, (int, float)) and 0 <= end - start < 1e9:
        return float(end - start)
    return default


def exit_reason(event: ev.Exited) -> str:
    """Return why an attempt failed, for users."""
    match event.reason:
        case "timeout":
            return "killed: its runtime was over"
        case "oom":
            return "killed: the node ran out of memory"
        case "cancelled" | "fenced" | "lost":
            return "cancelled"
        case "disk":
            return "the disk of the node's scratch directory is full"
    if event.code < 0:
        return f"killed by signal {-event.code}"
    # A program may end with this code for another reason, so this says only what it means to a shell.
    if event.code == 127:
        return "exit code 127 (usually: command not found)"
    # A part of harbor that the job has run, such as the stand-in for Snakemake in a script, says so in such a line.
    lines = str(event.message.get("tail") or "").splitlines()
    said = next((line.removeprefix(OWN_LINE) for line in reversed(lines) if line.startswith(OWN_LINE)), "")
    return f"exit code {event.code}" + (f": {_printable(said[:SAID_MAX])}" if said else "")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
