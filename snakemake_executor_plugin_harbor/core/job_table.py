"""The jobs of the pool: which there are, what state each is in, and what every transition entails.

Which nodes there are is the roster's business; what an event means, the reactor's. It changes only through them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from . import actions as act
from .earlier_attempts import EarlierAttempts
from .job import Job
from .lifecycle import CONNECTED, HOLDING, ON_NODE, TERMINAL, job_next
from .model import JobId, JobSpec, JobState, NodeFacts, Outcome
from .node import NodeView

MAX_LOSSES = 3
MANY_LOSSES = 10
"""A job that was lost so often fails, whatever else fails in the pool."""
SAME_OUTAGE_S = 5.0
"""Jobs that one node loses within this time are lost by one outage."""
MAX_REFUSALS = 3
CANCEL_GRACE_S = 5.0
"""Between TERM and KILL, for a single job."""
UNANSWERED_S = 120.0
"""A start that a node neither confirms nor refuses for this long: the connection is made anew, and hello tells."""


@dataclass(frozen=True)
class Timeouts:
    """How long an unreachable node's jobs are waited for, how long a fence takes to bite, and how long a job may
    show no sign of life (seconds); `kill_stalled` says what happens then.
    """

    lost_after: float = 120.0
    fence_wait: float = 90.0
    stall_after: float = 7200.0
    kill_stalled: bool = False


class LossCause(Enum):
    """What an attempt was lost by: an outage of its node, which the job may have caused; the job, which stalled; or
    something that no job can cause.
    """

    OUTAGE = auto()
    JOB = auto()
    EXTERNAL = auto()


class JobTable:
    """All unfinished jobs by id; `emit` takes the actions that follow from a change, `nodes` hold their seats."""

    def __init__(
        self,
        nodes: Mapping[str, NodeView],
        timeouts: Timeouts,
        emit: Callable[[act.Action], None],
        boot_id: str = "",
    ) -> None:
        self.jobs: dict[JobId, Job] = {}
        self.holding: dict[int, Job] = {}
        """The jobs that hold a reservation, by their order: few beside a long queue."""
        self.halted = False
        self._boot_id = boot_id
        self._nodes = nodes
        self._timeouts = timeouts
        self._emit = emit
        self._order = 0
        self._grace: float | None = None
        self._outages = 0
        self._outage_at: dict[str, float] = {}
        self.earlier_attempts = EarlierAttempts(self.jobs, nodes, timeouts, emit)

    def attempt(self, job_id: JobId, attempt: int) -> Job | None:
        """The job, if that is its present attempt: the fence against late messages."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.attempt == attempt else None

    def on(self, node: str, job_id: JobId, attempt: int) -> Job | None:
        """The job, if that attempt of it is on that node."""
        job = self.attempt(job_id, attempt)
        return job if job is not None and job.node == node and job.state in ON_NODE else None

    def submit(self, specs: Iterable[JobSpec], now: float) -> None:
        """Take jobs in; those that come after the end has been rung go at once."""
        for spec in specs:
            self._order += 1
            job = Job(
                spec, self._order, attempt=spec.attempt, since=now, outages_before=self._outages, avoid=set(spec.avoid)
            )
            self.jobs[spec.id] = job
            self.earlier_attempts.submitted(job)
            self._record(job)
            if self._grace is not None:
                self.cancel(job, self._grace, now)
            elif self.halted:
                self.step(job, "withdraw", now)

    def step(
        self,
        job: Job | None,
        trigger: str,
        now: float,
        why: str = "",
        exit: Mapping[str, Any] | None = None,
    ) -> None:
        """Take one transition of lifecycle's table, with what every such transition entails."""
        after = job_next(job.state, trigger) if job is not None else None
        if job is None or after is None:
            return
        before, job.state, job.since, job.why = job.state, after, now, why
        job.fenced_at = None
        if after in HOLDING:
            self.holding[job.order] = job
        else:
            self.holding.pop(job.order, None)
        if before in HOLDING and after not in HOLDING and job.node is not None:
            self._release(job, now)
        self._record(job)
        if after in TERMINAL:
            del self.jobs[job.spec.id]
            node = job.node if before in HOLDING else None
            self._emit(act.JobEnded(Outcome(job.spec.id, job.attempt, after, node, why, exit)))
        elif after == JobState.QUEUED:
            job.attempt += 1
            job.node, job.progress, job.stalled, job.last_active = None, None, False, 0.0
            if self.halted:
                self.step(job, "withdraw", now)

    def _release(self, job: Job, now: float) -> None:
        node = self._nodes.get(job.node or "")
        if node is not None:
            node.release(job.key, now)

    def _record(self, job: Job) -> None:
        self._emit(act.JobChanged(job.spec.id, job.attempt, job.state, job.node, job.why))

    def alive(self, job: Job | None, now: float, trigger: str | None = None, why: str = "") -> None:
        """A sign of life, perhaps with a transition."""
        if job is not None:
            job.last_active, job.stalled = now, job.stalled and self._timeouts.kill_stalled
            if trigger is not None:
                self.step(job, trigger, now, why)

    def lost(self, job: Job | None, why: str, now: float, cause: LossCause = LossCause.OUTAGE) -> None:
        """The attempt's end is not known: the job is requeued for another node, unless it was lost too often."""
        if job is None or job.node is None:
            return
        if cause == LossCause.OUTAGE and now - self._outage_at.get(job.node, float("-inf")) > SAME_OUTAGE_S:
            self._outage_at[job.node] = now
            self._outages += 1
        job.times_lost += cause != LossCause.EXTERNAL
        job.avoid.add(job.node)
        if self._takes_nodes_down(job, cause) and job.state != JobState.CANCELLING:
            self.step(job, "crashed", now, f"it was lost on {job.times_lost} nodes, the last time because {why}")
        else:
            self.step(job, "lost", now, f"lost on {job.node}: {why}")

    def _takes_nodes_down(self, job: Job, cause: LossCause) -> bool:
        """Whether the job is what its nodes fail by: it was there in at least half of all outages since it came. Where
        nodes fail all the time, three losses mean nothing.
        """
        if cause == LossCause.EXTERNAL or job.times_lost < MAX_LOSSES:
            return False
        suspicious = 2 * job.times_lost >= self._outages - job.outages_before
        return cause == LossCause.JOB or suspicious or job.times_lost >= MANY_LOSSES

    def refused(self, job: Job, why: str, now: float, *, may_be_its_fault: bool) -> None:
        """A node did not start the attempt: the job is requeued. It fails at the third refusal that may be its own
        fault, because a job that no node can start would otherwise be tried without end.
        """
        job.times_refused += may_be_its_fault
        if may_be_its_fault and job.times_refused >= MAX_REFUSALS:
            self.step(job, "impossible", now, f"it could not be started, after {job.times_refused} tries: {why}")
        else:
            self.step(job, "refused", now, why)

    def cancel(self, job: Job | None, grace: float, now: float) -> None:
        """End a job, wherever it is; TERM first, KILL after `grace` seconds."""
        if job is None:
            return
        job.cancel_requested = True
        if job.state in (JobState.STARTING, JobState.RUNNING) and job.node is not None:
            message = {"t": "cancel", "job": job.spec.id, "attempt": job.attempt, "grace": grace}
            self._emit(act.SendMessage(job.node, message))
        elif job.state == JobState.UNREACHABLE:
            self.fence(job)
        elif job.state == JobState.QUEUED:
            self.earlier_attempts.give_up(job)
        self.step(job, "cancel", now, "cancelled")

    def cancel_all(self, grace: float, now: float) -> None:
        """End every job, also those that are still to come."""
        self._grace = grace
        for job in list(self.jobs.values()):
            self.cancel(job, grace, now)

    def halt(self, now: float) -> None:
        """Nothing more is to start; what waits goes back."""
        self.halted = True
        for job in [j for j in self.jobs.values() if j.state == JobState.QUEUED]:
            self.step(job, "withdraw", now)

    def fence(self, job: Job) -> None:
        """Give the present attempt up, where it cannot be reached."""
        self._emit(act.Fence(job.spec.id, job.attempt))

    def fence_all(self) -> None:
        """Give up every attempt whose end is not known, as this controller is about to leave."""
        for job in self.jobs.values():
            if job.state in ON_NODE:
                self.fence(job)

    def forget(self, node: str, job: JobId, attempt: int) -> None:
        """A node's record of an attempt is of no more use."""
        self._emit(act.SendMessage(node, {"t": "forget", "job": job, "attempt": attempt}))

    def tick(self, now: float) -> set[str]:
        """Act on limits that have passed: of nodes that do not answer, and of jobs that show no sign of life. Returns
        the nodes that have not answered a start.
        """
        if not self._network_answers():
            # The controller itself may be cut off, so this time does not count. It does for nodes that the user has
            # taken out of the host list.
            for job in self.holding.values():
                if job.state == JobState.UNREACHABLE and not self._leaves(job):
                    job.since = now
            self.earlier_attempts.hold(now)
        unanswered = set()
        for job in [j for j in self.holding.values() if j.state in ON_NODE]:
            waited = now - job.since
            lost_after = 0.0 if self._leaves(job) else self._timeouts.lost_after
            if job.state == JobState.UNREACHABLE and job.fenced_at is None and waited >= lost_after:
                # Until the fence takes effect, the node may report that the attempt had ended by itself.
                job.fenced_at = now
                self.fence(job)
            elif job.fenced_at is not None and now - job.fenced_at >= self._timeouts.fence_wait:
                if not job.unfenced:
                    self.lost(job, f"unreachable for {waited:.0f} s", now)
            elif job.state == JobState.STARTING and waited >= UNANSWERED_S and job.node is not None:
                unanswered.add(job.node)
            elif job.state == JobState.RUNNING and not job.stalled and now - job.last_active >= self.stall_after(job):
                self._stall(job)
        self.earlier_attempts.tick(now)
        for name in sorted(unanswered):
            self._emit(act.Reconnect(name))
        return unanswered

    def _network_answers(self) -> bool:
        """Whether a connected node proves that the network works. The controller's own machine proves nothing, unless
        the pool has no other; reached over SSH, it proves nothing while other machines are known.
        """
        nodes = [node for node in self._nodes.values() if not node.spec.local] or list(self._nodes.values())
        others = [node for node in nodes if node.facts is not None and not self._is_here(node.facts)]
        return any(node.state in CONNECTED for node in others or nodes)

    def _is_here(self, facts: NodeFacts) -> bool:
        return bool(self._boot_id) and facts.boot_id == self._boot_id

    def _leaves(self, job: Job) -> bool:
        """Whether its node was taken out of the host list, so that nobody expects that node back."""
        node = self._nodes.get(job.node or "")
        return node is not None and node.leaving and node.successor is None

    def _stall(self, job: Job) -> None:
        """A job gave no sign of life for too long: the user hears of it, or it ends and is tried elsewhere."""
        job.stalled = True
        assert job.node is not None
        kill = self._timeouts.kill_stalled
        self._emit(act.JobStalled(job.spec.id, job.node, self.stall_after(job), kill))
        if kill:
            message = {"t": "cancel", "job": job.spec.id, "attempt": job.attempt, "grace": CANCEL_GRACE_S}
            self._emit(act.SendMessage(job.node, message))

    def stall_after(self, job: Job) -> float:
        """Seconds without a sign of life that the job may take."""
        own = job.spec.stall_after
        return self._timeouts.stall_after if own is None else own
