"""Events about attempts: an attempt was prepared, adopted, started, refused, or has ended."""

from collections.abc import Callable
from dataclasses import replace

from . import actions as act
from . import events as ev
from .job import EXTERNAL_REASONS, LOST_REASONS, STALLED, Job, exit_event, exit_reason, run_seconds
from .job_table import MAX_TIMES_REFUSED, JobTable, LossCause
from .model import JobId, JobState, NodeState, attempt_key
from .node import NodeView
from .node_table import UNSHARED, NodeTable
from .progress import Progress, RuleDurations
from .time_limits import TimeLimits
from .waiting import WaitingQueue


class AttemptEvents:
    """Applies events about attempts to the job table and the node table.

    `unclaimed` holds, by node, the keys of attempts of earlier runs that the node has listed and that no job of this
    run has adopted yet. Their records stay on the nodes, because their jobs may be submitted later.
    """

    def __init__(
        self,
        jobs: JobTable,
        nodes: NodeTable,
        limits: TimeLimits,
        waiting: WaitingQueue,
        durations: RuleDurations,
        emit: Callable[[act.Action], None],
    ) -> None:
        self.unclaimed: dict[str, set[str]] = {}
        self._jobs = jobs
        self._nodes = nodes
        self._limits = limits
        self._waiting = waiting
        self._durations = durations
        self._emit = emit

    def apply(self, event: ev.AttemptEvent, now: float) -> None:
        """Apply one event."""
        match event:
            case ev.Exited():
                self.exited(event, now)
            case ev.Started():
                self._started(event, now)
            case ev.Prepared(job, attempt):
                self._prepared(job, attempt, now)
            case ev.PrepareFailed():
                self._prepare_failed(event, now)
            case ev.Progressed(name, job, attempt, done, total):
                if (running := self._jobs.on_node(name, job, attempt)) is not None:
                    running.progress = Progress(done, total)
                    self._jobs.mark_active(running, now)
            case ev.AttemptsActive(name, attempts):
                for job, attempt in attempts:
                    self._jobs.mark_active(self._jobs.on_node(name, job, attempt), now)
            case ev.Adopted():
                self._adopted(event, now)
            case ev.Refused():
                self._refused(event, now)
            case ev.AttemptUnknown(name, job, attempt):
                self._jobs.earlier_attempts.attempt_ended(name, job, attempt)
                unknown = self._jobs.on_node(name, job, attempt)
                self._jobs.attempt_lost(unknown, "the node does not know it", now)

    # --- before the start ---------------------------------------------------------------------------------------

    def _adopted(self, event: ev.Adopted, now: float) -> None:
        job = self._jobs.jobs.get(event.submitted_as or event.job)
        node = self._nodes.get(event.node)
        # An attempt that has ended may be of a node that has left the host list since.
        if job is None or job.state != JobState.QUEUED or (node is None and event.exit is None):
            return
        if event.submitted_as is not None:
            self._jobs.jobs[event.job] = self._jobs.jobs.pop(event.submitted_as)
            job.spec = replace(job.spec, id=event.job)
            self._emit(act.JobRenamed(event.job, event.submitted_as))
        self._jobs.earlier_attempts.job_adopted(job, event.node, event.attempt)
        job.attempt, job.node, job.reservation = event.attempt, event.node, event.reservation
        job.staged = event.staged
        if node is not None:
            node.hold(job.key, job.spec.request, job.reservation)
        self.unclaimed.get(event.node, set()).discard(job.key)
        self._jobs.mark_active(job, now, "adopted", "adopted from an earlier run")
        if event.exit is not None:
            self.exited(exit_event(event.node, event.job, event.attempt, event.exit), now)

    def _prepared(self, job_id: JobId, attempt: int, now: float) -> None:
        job = self._jobs.current_attempt(job_id, attempt)
        if job is None or job.node is None or job.state != JobState.PLACED:
            return
        if job.cancelled_because:
            self._jobs.transition(job, "unsent", now)
            self._jobs.transition(job, "cancel", now, job.cancelled_because)
        elif self._nodes.views[job.node].state != NodeState.READY:
            self._jobs.transition(job, "unsent", now, f"{job.node} went away before it was sent")
        elif self._jobs.halted:
            self._jobs.transition(job, "withdraw", now)
        else:
            job.staged = self._nodes.views[job.node].staged
            self._jobs.transition(job, "sent", now)
            self._emit(act.SendStart(job_id, attempt, job.node))

    def _prepare_failed(self, event: ev.PrepareFailed, now: float) -> None:
        job = self._jobs.current_attempt(event.job, event.attempt)
        if job is None or job.node is None or job.state != JobState.PLACED:
            return
        if event.fault == "changed":
            job.times_refused += 1
            if job.times_refused >= MAX_TIMES_REFUSED:
                self._jobs.transition(job, "unprepared", now, event.reason)
                return
        elif event.fault:
            job.avoid.add(job.node)
            node = self._nodes.views[job.node]
            if event.fault == "disk" and node.load is not None:
                # The next load sample will show whether there is space again.
                node.load = replace(node.load, disk_free_mb=0)
            self._nodes.count_refusal(node, job.key, event.reason, now)
        self._jobs.transition(job, event.trigger, now, event.reason)

    # --- the start ----------------------------------------------------------------------------------------------

    def _started(self, event: ev.Started, now: float) -> None:
        job = self._jobs.on_node(event.node, event.job, event.attempt)
        if job is not None:
            if self._nodes.end_distrust(event.node):
                self._waiting.node_changed(event.node)
            self._nodes.views[event.node].had.update(job.spec.request.needs)
            self._jobs.mark_active(job, now, "started")

    def _refused(self, event: ev.Refused, now: float) -> None:
        job = self._jobs.on_node(event.node, event.job, event.attempt)
        node = self._nodes.get(event.node)
        if job is None or node is None:
            return
        why, may_be_its_fault = event.reason or event.kind, False
        if event.kind not in ("disk", "unshared"):
            job.avoid.add(event.node)
        match event.kind:
            case "missing" if event.path:
                why = f"no {event.path} there"
                self._path_missing(node, job, event.path, now)
            case "disk":
                # The next load sample will show whether there is space again.
                if node.load is not None:
                    node.load = replace(node.load, disk_free_mb=0)
                self._nodes.count_refusal(node, job.key, why, now)
            case "fork":
                self._nodes.count_refusal(node, job.key, why, now)
            case "unshared":
                why = UNSHARED
                self._nodes.mark_unshared(node, why)
            case "fenced":
                why = "the attempt had been given up, or a later agent has taken over"
                self._nodes.count_refusal(node, job.key, why, now)
            case "job":
                may_be_its_fault = True
            case _:
                may_be_its_fault = True
                self._nodes.count_refusal(node, event.job, why, now)
        self._jobs.attempt_refused(job, f"refused by {event.node}: {why}", now, may_be_its_fault=may_be_its_fault)

    def _path_missing(self, node: NodeView, job: Job, path: str, now: float) -> None:
        """A path that the job needs is missing on the node. If a job has found it there before, it may return, as a
        mount does.
        """
        if path in node.had:
            self._nodes.count_refusal(node, job.key, f"it no longer has {path}", now)
            return
        node.missing.add(path)
        if path not in job.spec.request.needs:
            request = replace(job.spec.request, needs=(*job.spec.request.needs, path))
            job.spec = replace(job.spec, request=request)

    # --- the end ------------------------------------------------------------------------------------------------

    def exited(self, event: ev.Exited, now: float) -> None:
        """An attempt has ended. It may also be an attempt that this run has given up, or one of an earlier run."""
        job = self._jobs.on_node(event.node, event.job, event.attempt)
        if job is None:
            if self._jobs.current_attempt(event.job, event.attempt) is None:
                self._other_attempt_exited(event, now)
            return
        self._nodes.clear_refusals(event.node)
        if event.reason == "unshared":
            self._nodes.mark_unshared(self._nodes.views[event.node], UNSHARED)
        if event.reason in LOST_REASONS and not job.cancelled_because:
            stalled = f"{STALLED} for {self._limits.stall_after(job):.0f} s"
            self._jobs.forget_record(event.node, event.job, event.attempt)
            if job.stalled:
                self._jobs.attempt_lost(job, stalled, now, LossCause.JOB)
            else:
                cause = LossCause.EXTERNAL if event.reason in EXTERNAL_REASONS else LossCause.OUTAGE
                self._jobs.attempt_lost(job, LOST_REASONS[event.reason], now, cause)
        elif event.code == 0 and event.reason is None:
            self._durations.add(job.spec.rule, max(0.0, run_seconds(event.message, now - job.since)))
            self._jobs.transition(job, "exited-ok", now, exit=event.message)
        else:
            self._jobs.transition(job, "exited-bad", now, exit_reason(event), exit=event.message)

    def _other_attempt_exited(self, event: ev.Exited, now: float) -> None:
        """An attempt has ended that is no present attempt of a job. Its record is deleted on the node. The record of an
        unclaimed attempt is kept, because its job may be submitted later and will adopt it.
        """
        key = attempt_key(event.job, event.attempt)
        if (node := self._nodes.get(event.node)) is not None:
            node.release(key, now)
        cancelled = self._jobs.earlier_attempts.attempt_ended(event.node, event.job, event.attempt)
        if cancelled:
            self._waiting.recheck_held_back()
        if key in self.unclaimed.get(event.node, ()) and not cancelled:
            self.unclaimed[event.node].discard(key)
        else:
            self._jobs.forget_record(event.node, event.job, event.attempt)
