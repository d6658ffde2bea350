"""The jobs of the pool, their states, and everything that each transition entails.

The node table keeps the nodes, and the reactor decides what an event means. The job table changes only when the reactor
calls it.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Any

from . import actions as act
from .earlier_attempts import EarlierAttempts
from .job import Job
from .lifecycle import HOLDING, ON_NODE, TERMINAL, job_next
from .model import JobId, JobSpec, JobState, Outcome
from .node import NodeView
from .timeouts import Timeouts

MAX_TIMES_LOST = 3
"""A job that was lost this often fails, if it was there in at least half of the pool's outages."""
MAX_TIMES_LOST_EVER = 10
"""A job that was lost this often fails, whatever else fails in the pool."""
SAME_OUTAGE_S = 5.0
"""Jobs that a node loses within this time are lost by the same outage."""
MAX_TIMES_REFUSED = 3
"""A job fails if its start was refused this often for a reason that may be its own fault."""
CANCEL_GRACE_S = 5.0
"""The time between SIGTERM and SIGKILL when a single job is cancelled."""


class LossCause(Enum):
    """The cause for which an attempt was lost."""

    OUTAGE = auto()
    """The node failed. The job may have caused that."""
    JOB = auto()
    """The job stalled and was killed."""
    EXTERNAL = auto()
    """Something that no job can cause."""


class JobTable:
    """All unfinished jobs by id. `emit` receives the actions that follow from a change. `nodes` keep the reservations
    of the jobs.
    """

    def __init__(self, nodes: Mapping[str, NodeView], timeouts: Timeouts, emit: Callable[[act.Action], None]) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.holding: dict[int, Job] = {}
        """The jobs that hold a reservation, by their order. They are few beside a long queue."""
        self.halted = False
        self._nodes = nodes
        self._emit = emit
        self._kill_stalled = timeouts.kill_stalled
        self._order = 0
        self._cancel_grace: float | None = None
        self._outages = 0
        self._last_outage: dict[str, float] = {}
        self.earlier_attempts = EarlierAttempts(self.jobs, nodes, timeouts, emit)

    def current_attempt(self, job_id: JobId, attempt: int) -> Job | None:
        """Return the job if this is its present attempt. So messages about old attempts are ignored."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.attempt == attempt else None

    def on_node(self, node: str, job_id: JobId, attempt: int) -> Job | None:
        """Return the job if this is its present attempt and it is on this node."""
        job = self.current_attempt(job_id, attempt)
        return job if job is not None and job.node == node and job.state in ON_NODE else None

    def submit(self, specs: Iterable[JobSpec], now: float) -> None:
        """Add jobs. After `cancel_all` or `halt`, new jobs are cancelled or withdrawn immediately."""
        for spec in specs:
            self._order += 1
            job = Job(spec, self._order, attempt=spec.attempt, since=now, avoid=set(spec.avoid))
            job.outages_before = self._outages
            self.jobs[spec.id] = job
            self.earlier_attempts.job_submitted(job)
            self.report(job)
            if self._cancel_grace is not None:
                self.cancel(job, self._cancel_grace, now)
            elif self.halted:
                self.transition(job, "withdraw", now)

    def transition(
        self,
        job: Job | None,
        trigger: str,
        now: float,
        why: str = "",
        exit: Mapping[str, Any] | None = None,
    ) -> None:
        """Make one transition of lifecycle's table, with everything that it entails. If the table has no such
        transition, nothing happens.
        """
        after = job_next(job.state, trigger) if job is not None else None
        if job is None or after is None:
            return
        if after == JobState.CANCELLED:
            why = job.cancelled_because or why
        before, job.state, job.since, job.why = job.state, after, now, why
        job.fenced_at = None
        if after in HOLDING:
            self.holding[job.order] = job
        else:
            self.holding.pop(job.order, None)
        if before in HOLDING and after not in HOLDING and job.node is not None:
            self._release(job, now)
        self.report(job)
        if after in TERMINAL:
            del self.jobs[job.spec.id]
            node = job.node if before in HOLDING else None
            self._emit(act.JobEnded(Outcome(job.spec.id, job.attempt, after, node, why, exit)))
        elif after == JobState.QUEUED:
            job.attempt += 1
            job.node, job.progress, job.stalled, job.last_active = None, None, False, 0.0
            if self.halted:
                self.transition(job, "withdraw", now)

    def _release(self, job: Job, now: float) -> None:
        node = self._nodes.get(job.node or "")
        if node is not None:
            node.release(job.key, now)

    def report(self, job: Job, why: str | None = None) -> None:
        """Report the state of a job. `why` replaces its reason."""
        job.why = job.why if why is None else why
        self._emit(act.JobChanged(job.spec.id, job.attempt, job.state, job.node, job.why))

    def mark_active(self, job: Job | None, now: float, trigger: str | None = None, why: str = "") -> None:
        """A message has shown activity of the job. Make a transition too, if a trigger is given."""
        if job is not None:
            if job.stalled and not self._kill_stalled:
                job.stalled = False
                self.report(job, "it shows output or progress again")
            job.last_active = now
            if trigger is not None:
                self.transition(job, trigger, now, why)

    def attempt_lost(self, job: Job | None, why: str, now: float, cause: LossCause = LossCause.OUTAGE) -> None:
        """The end of the attempt is unknown. The job is requeued for another node, unless it was lost too often."""
        if job is None or job.node is None:
            return
        if cause == LossCause.OUTAGE and now - self._last_outage.get(job.node, float("-inf")) > SAME_OUTAGE_S:
            self._last_outage[job.node] = now
            self._outages += 1
        job.times_lost += cause != LossCause.EXTERNAL
        job.avoid.add(job.node)
        if self._fails_nodes(job, cause) and job.state != JobState.CANCELLING:
            self.transition(job, "crashed", now, f"it was lost {job.times_lost} times, the last time because {why}")
        else:
            self.transition(job, "lost", now, f"lost on {job.node}: {why}")

    def is_last_chance(self, job: Job) -> bool:
        """Return whether the job fails if it is lost once more by its own fault."""
        return job.times_lost + 1 >= MAX_TIMES_LOST

    def _fails_nodes(self, job: Job, cause: LossCause) -> bool:
        """Return whether the job is what makes its nodes fail. That is assumed if it was on the node in at least half
        of all outages since it was submitted. Where nodes fail all the time, three losses prove nothing.
        """
        if cause == LossCause.EXTERNAL or job.times_lost < MAX_TIMES_LOST:
            return False
        suspicious = 2 * job.times_lost >= self._outages - job.outages_before
        return cause == LossCause.JOB or suspicious or job.times_lost >= MAX_TIMES_LOST_EVER

    def attempt_refused(self, job: Job, why: str, now: float, *, may_be_its_fault: bool) -> None:
        """A node did not start the attempt. The job is requeued. It fails at the third refusal that may be its own
        fault, because a job that no node can start would otherwise be retried for ever.
        """
        job.times_refused += may_be_its_fault
        if may_be_its_fault and job.times_refused >= MAX_TIMES_REFUSED:
            reason = f"it could not be started, after {job.times_refused} tries: {why}"
            self.transition(job, "impossible", now, reason)
        else:
            self.transition(job, "refused", now, why)

    def cancel(self, job: Job | None, grace: float, now: float, why: str = "cancelled") -> None:
        """End a job in any state. It gets SIGTERM first, and SIGKILL after `grace` seconds."""
        if job is None:
            return
        job.cancelled_because = job.cancelled_because or why
        if job.state in (JobState.STARTING, JobState.RUNNING) and job.node is not None:
            self._emit(act.cancel_message(job.node, job.spec.id, job.attempt, grace))
        elif job.state == JobState.UNREACHABLE:
            self.fence(job)
        elif job.state == JobState.QUEUED:
            self.earlier_attempts.job_cancelled(job)
        self.transition(job, "cancel", now, job.cancelled_because)

    def cancel_all(self, grace: float, now: float) -> None:
        """End every job, and also each job that is submitted later."""
        self._cancel_grace = grace
        for job in list(self.jobs.values()):
            self.cancel(job, grace, now)

    def halt(self, now: float) -> None:
        """Start no more jobs, and withdraw those that wait."""
        self.halted = True
        for job in [j for j in self.jobs.values() if j.state == JobState.QUEUED]:
            self.transition(job, "withdraw", now)

    def fence(self, job: Job) -> None:
        """Fence the present attempt of a job, because its node cannot be reached."""
        self._emit(act.Fence(job.spec.id, job.attempt))

    def fence_all(self) -> None:
        """Fence every attempt whose end is unknown, because this controller is about to end."""
        for job in self.jobs.values():
            if job.state in ON_NODE:
                self.fence(job)

    def forget_record(self, node: str, job: JobId, attempt: int) -> None:
        """Tell a node to delete its record of an attempt, because nobody needs it any more."""
        self._emit(act.SendMessage(node, {"t": "forget", "job": job, "attempt": attempt}))
