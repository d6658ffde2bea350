"""The reactor: `handle(events, now) -> actions` is the only way in which the pool's state changes.

It knows nothing of sockets, disks, clocks or threads, so everything that decides can be tested, simulated and
fuzzed. The dispatcher is its only caller, on one thread.
"""

from collections.abc import Iterable
from dataclasses import replace

from . import actions as act
from . import events as ev
from .feasibility import Refusal
from .job import (
    EXTERNAL_REASONS,
    LOST_REASONS,
    Job,
    elapsed,
    exit_event,
    exit_reason,
    impossible_message,
    reservation_of,
)
from .job_table import CANCEL_GRACE_S, JobTable, LossCause, Timeouts
from .lifecycle import HOLDING, ON_NODE
from .machine import total_slots
from .model import JobId, JobState, Load, NodeSpec, NodeState, Request, attempt_key
from .node import NodeView
from .node_table import NodeTable
from .placement import Placement
from .policy import Policy
from .progress import Progress, RuleDurations
from .waiting import WaitingQueue

UNSHARED = "the working directory is not there, or is another one"


class Pool:
    """All nodes and unfinished jobs of a run. Jobs that have ended are forgotten: memory does not grow."""

    def __init__(
        self,
        nodes: Iterable[NodeSpec],
        policy: Policy | None = None,
        timeouts: Timeouts | None = None,
        boot_id: str = "",
    ) -> None:
        """`boot_id` is the controller's machine's: nodes with the same one say nothing about the network."""
        self.policy = policy or Policy()
        self._actions: list[act.Action] = []
        self._roster = NodeTable(nodes, self._emit)
        self._ledger = JobTable(self._roster.views, timeouts or Timeouts(), self._emit, boot_id)
        self.durations = RuleDurations()
        self.waiting = WaitingQueue(
            self._roster.views, self.policy, self.durations, self._ledger.earlier_attempts.held_back
        )
        self.hour: int | None = None
        self._orphans: dict[str, set[str]] = {}

    @property
    def nodes(self) -> dict[str, NodeView]:
        return self._roster.views

    @property
    def jobs(self) -> dict[JobId, Job]:
        return self._ledger.jobs

    # --- the way in ---------------------------------------------------------------------------------

    def handle(self, events: Iterable[ev.Event], now: float) -> list[act.Action]:
        """Apply events in order, then place what can be placed; returns what is to be done, in order."""
        self._actions = []
        for event in events:
            self._apply(event, now)
            self._mark(event)
        self._roster.remove_departed()
        self._ledger.earlier_attempts.decide(now)
        self._schedule(now)
        return self._actions

    def connect_all(self) -> list[act.Action]:
        """The first actions of a run: connect to every node."""
        self._actions = []
        for node in self.nodes.values():
            self._roster.connect(node)
        return self._actions

    def _apply(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.Submitted(jobs):
                self._ledger.submit(jobs, now)
            case ev.Adopted():
                self._adopt(event, now)
            case ev.Prepared(job, attempt):
                self._prepared(job, attempt, now)
            case ev.PrepareFailed(job, attempt, trigger, reason):
                self._end_placed(job, attempt, trigger, reason, now)
            case ev.NodeUp():
                self._node_up(event, now)
            case ev.NodeDown():
                self._node_down(event, now)
            case ev.LoadMeasured(name, load):
                self._measured(name, load)
            case ev.Started():
                self._started(event, now)
            case ev.Refused():
                self._refused(event, now)
            case ev.Progressed(name, job, attempt, done, total):
                if (running := self._ledger.on(name, job, attempt)) is not None:
                    running.progress = Progress(done, total)
                    self._ledger.alive(running, now)
            case ev.AttemptsActive(name, attempts):
                for job, attempt in attempts:
                    self._ledger.alive(self._ledger.on(name, job, attempt), now)
            case ev.Exited():
                self._exited(event, now)
            case ev.AttemptUnknown(name, job, attempt):
                self._ledger.earlier_attempts.over(name, job, attempt)
                self._ledger.lost(self._ledger.on(name, job, attempt), "the node does not know it", now)
            case ev.CancelJob(job):
                self._ledger.cancel(self.jobs.get(job), CANCEL_GRACE_S, now)
            case ev.CancelAll(grace):
                self._ledger.cancel_all(grace, now)
            case ev.FenceAll():
                self._ledger.fence_all()
            case ev.FenceResult():
                self._ledger.earlier_attempts.fenced(event, now)
            case ev.Halt():
                self._ledger.halt(now)
            case ev.HostListChanged(nodes):
                self._roster.listed(nodes)
            case ev.DrainChanged(name, reason):
                self._roster.drain(name, reason)
            case ev.Tick(hour):
                self.hour = hour
                self._roster.tick(now)
                for name in self._ledger.tick(now):
                    self._roster.distrust(name)

    def _mark(self, event: ev.Event) -> None:
        """Tell the queue what an event may have changed, beside what `_emit` tells it."""
        match event:
            case ev.LoadMeasured(name) | ev.Exited(name) | ev.Adopted(node=name):
                self.waiting.load_changed(name)
            case ev.NodeUp(name) | ev.Refused(name) | ev.DrainChanged(name):
                self.waiting.node_changed(name)
            case ev.HostListChanged():
                self.waiting.host_list_changed()
            case ev.FenceResult() | ev.AttemptUnknown():
                self.waiting.recheck_held_back()
            case ev.Tick(hour):
                self.waiting.time_passed(hour)

    def _emit(self, action: act.Action) -> None:
        self._actions.append(action)
        match action:
            case act.JobChanged(job, _, state, node):
                self.waiting.job_changed(self.jobs[job])
                if node is not None and state not in HOLDING:
                    self.waiting.load_changed(node)
            case act.NodeChanged(name):
                self.waiting.node_changed(name)

    # --- jobs -----------------------------------------------------------------------------------------

    def _adopt(self, event: ev.Adopted, now: float) -> None:
        job = self.jobs.get(event.submitted_as or event.job)
        node = self.nodes.get(event.node)
        # One that has ended may be of a node that has left the host list since.
        if job is None or job.state != JobState.QUEUED or (node is None and event.exit is None):
            return
        if event.submitted_as is not None:
            self.jobs[event.job] = self.jobs.pop(event.submitted_as)
            job.spec = replace(job.spec, id=event.job)
            self._emit(act.JobRenamed(event.job, event.submitted_as))
        self._ledger.earlier_attempts.adopted(job, event.node, event.attempt)
        job.attempt, job.node, job.reservation = event.attempt, event.node, event.reservation
        if node is not None:
            node.hold(job.key, job.spec.request, job.reservation)
        self._orphans.get(event.node, set()).discard(job.key)
        self._ledger.alive(job, now, "adopted", "adopted from an earlier run")
        if event.exit is not None:
            self._apply(exit_event(event.node, event.job, event.attempt, event.exit), now)

    def _prepared(self, job_id: JobId, attempt: int, now: float) -> None:
        job = self._ledger.attempt(job_id, attempt)
        if job is None or job.node is None or job.state != JobState.PLACED:
            return
        if self.nodes[job.node].state != NodeState.READY:
            self._ledger.step(job, "unsent", now, f"{job.node} went away before it was sent")
        elif job.cancel_requested:
            self._ledger.step(job, "unsent", now)
            self._ledger.step(job, "cancel", now, "cancelled")
        elif self._ledger.halted:
            self._ledger.step(job, "withdraw", now)
        else:
            self._ledger.step(job, "sent", now)
            self._emit(act.SendStart(job_id, attempt, job.node))

    def _end_placed(self, job_id: JobId, attempt: int, trigger: str, reason: str, now: float) -> None:
        job = self._ledger.attempt(job_id, attempt)
        if job is not None and job.state == JobState.PLACED:
            self._ledger.step(job, trigger, now, reason)

    def _started(self, event: ev.Started, now: float) -> None:
        job = self._ledger.on(event.node, event.job, event.attempt)
        if job is not None:
            if self._roster.answered(event.node):
                self.waiting.node_changed(event.node)
            self.nodes[event.node].had.update(job.spec.request.needs)
            self._ledger.alive(job, now, "started")

    def _exited(self, event: ev.Exited, now: float) -> None:
        job = self._ledger.on(event.node, event.job, event.attempt)
        if job is None:
            if self._ledger.attempt(event.job, event.attempt) is None:
                self._stranger_exited(event, now)
            return
        self._roster.clear_strikes(event.node)
        if event.reason == "unshared":
            self._roster.unshared(self.nodes[event.node], UNSHARED)
        if event.reason in LOST_REASONS and not job.cancel_requested:
            stall = f"no output and no progress for {self._ledger.stall_after(job):.0f} s"
            self._ledger.forget(event.node, event.job, event.attempt)
            if job.stalled:
                self._ledger.lost(job, stall, now, LossCause.JOB)
            else:
                cause = LossCause.EXTERNAL if event.reason in EXTERNAL_REASONS else LossCause.OUTAGE
                self._ledger.lost(job, LOST_REASONS[event.reason], now, cause)
            return
        if event.code == 0 and event.reason is None:
            self.durations.learn(job.spec.rule, max(0.0, elapsed(event.message, now - job.since)))
            self._ledger.step(job, "exited-ok", now, exit=event.message)
        else:
            self._ledger.step(job, "exited-bad", now, exit_reason(event), exit=event.message)

    def _stranger_exited(self, event: ev.Exited, now: float) -> None:
        """An attempt that was given up: its record is of no more use. One of an earlier run is kept: its job may
        not have been handed over yet, and will be adopted.
        """
        key = attempt_key(event.job, event.attempt)
        if (node := self.nodes.get(event.node)) is not None:
            node.release(key, now)
        ended = self._ledger.earlier_attempts.over(event.node, event.job, event.attempt)
        if ended:
            self.waiting.recheck_held_back()
        if key in self._orphans.get(event.node, ()) and not ended:
            self._orphans[event.node].discard(key)
        else:
            self._ledger.forget(event.node, event.job, event.attempt)

    def _refused(self, event: ev.Refused, now: float) -> None:
        job = self._ledger.on(event.node, event.job, event.attempt)
        node = self.nodes.get(event.node)
        if job is None or node is None:
            return
        why = event.reason or event.kind
        doubtful = False
        match event.kind:
            case "missing" if event.path:
                why = f"no {event.path} there"
                job.avoid.add(event.node)
                self._lacks(node, job, event.path, now)
            case "disk":
                # Until the next sample says that there is room again.
                if node.load is not None:
                    node.load = replace(node.load, disk_free_mb=0)
                self._roster.strike(node, job.key, why, now)
            case "fork":
                job.avoid.add(event.node)
                self._roster.strike(node, job.key, why, now)
            case "unshared":
                why = UNSHARED
                self._roster.unshared(node, why)
            case "fenced":
                why = "the attempt had been given up, or a later agent has taken over"
                job.avoid.add(event.node)
                self._roster.strike(node, job.key, why, now)
            case "job":
                doubtful = True
                job.avoid.add(event.node)
            case _:
                doubtful = True
                job.avoid.add(event.node)
                self._roster.strike(node, event.job, why, now)
        self._ledger.refused(job, f"refused by {event.node}: {why}", now, may_be_its_fault=doubtful)

    def _lacks(self, node: NodeView, job: Job, path: str, now: float) -> None:
        """A path that a job needs is not there. Where a job found it before, it may come back (a mount)."""
        if path in node.had:
            self._roster.strike(node, job.key, f"it no longer has {path}", now)
            return
        node.missing.add(path)
        if path not in job.spec.request.needs:
            request = replace(job.spec.request, needs=(*job.spec.request.needs, path))
            job.spec = replace(job.spec, request=request)

    # --- nodes ----------------------------------------------------------------------------------------

    def _node_up(self, event: ev.NodeUp, now: float) -> None:
        node = self._roster.up(event.node, now)
        if node is None:
            return
        rebooted = node.facts is not None and node.facts.boot_id != event.facts.boot_id
        node.facts, node.load, node.idle_since = event.facts, None, now
        node.missing.clear()
        if event.unusable:
            self._roster.unshared(node, event.unusable)
        known = {(k.job, k.attempt): k for k in event.records}
        for job in [j for j in self._ledger.holding.values() if j.node == event.node and j.state in ON_NODE]:
            record = known.pop((job.spec.id, job.attempt), None)
            if record is None:
                if not (job.last_active or rebooted):
                    # Its start message may still be on the way to an older agent of the node.
                    self._ledger.fence(job)
                self._ledger.lost(job, "the node was rebooted" if rebooted else "the node does not know it", now)
            elif rebooted and record.exit is not None and record.exit.get("reason") == "lost":
                self._ledger.forget(event.node, record.job, record.attempt)
                self._ledger.lost(job, "the node was rebooted", now)
            elif record.exit is not None:
                self._exited(exit_event(event.node, record.job, record.attempt, record.exit), now)
            else:
                self._ledger.alive(job, now, "found")
        self._take_in(node, known, now)

    def _measured(self, name: str, load: Load) -> None:
        node = self.nodes.get(name)
        if node is None:
            return
        node.measure(load)
        if not load.shared:
            self._roster.unshared(node, UNSHARED)
        else:
            self._roster.shared(node)

    def _take_in(self, node: NodeView, known: dict[tuple[JobId, int], ev.NodeRecord], now: float) -> None:
        """Records that no job here waits for. What runs keeps its seat until it ends: it may be adopted yet.
        Old attempts of our own jobs were replaced, so they end now.
        """
        ours = {job.key for job in self._ledger.holding.values() if job.node == node.spec.name}
        for key in [key for key in node.reservations if key not in ours]:
            node.release(key, now)
        orphans = self._orphans[node.spec.name] = set[str]()
        self._ledger.earlier_attempts.node_up(node.spec.name, [k for k in known.values() if k.job not in self.jobs])
        for (job_id, attempt), record in known.items():
            job = self.jobs.get(job_id)
            if job is not None and attempt >= job.attempt:
                continue
            if job is None:
                orphans.add(attempt_key(job_id, attempt))
            if record.running:
                reservation = reservation_of(record.meta)
                node.hold(attempt_key(job_id, attempt), Request(cores=len(reservation.slots)), reservation)
            if job is not None and record.running:
                message = {"t": "cancel", "job": job_id, "attempt": attempt, "grace": CANCEL_GRACE_S}
                self._emit(act.SendMessage(node.spec.name, message))
                self._ledger.earlier_attempts.block(job, node.spec.name, attempt)
            elif job is not None:
                self._ledger.forget(node.spec.name, job_id, attempt)

    def _node_down(self, event: ev.NodeDown, now: float) -> None:
        if self._roster.down(event, now) is None:
            return
        self._ledger.earlier_attempts.node_down(event.node, now)
        for job in [j for j in self._ledger.holding.values() if j.node == event.node]:
            if job.state == JobState.CANCELLING:
                self._ledger.fence(job)
            self._ledger.step(job, "channel-lost", now, event.reason)

    # --- placement --------------------------------------------------------------------------------------

    def queue(self) -> list[Job]:
        """Jobs that wait, next first: priority, then longest expected, then deepest in the DAG, then oldest."""
        return self.waiting.queue()

    def _schedule(self, now: float) -> None:
        for job, answer in self.waiting.decide(now):
            if isinstance(answer, Refusal):
                job.refusal = answer
                self._ledger.step(job, "impossible", now, impossible_message(answer))
            else:
                self._place(job, answer, now)

    def _place(self, job: Job, placement: Placement, now: float) -> None:
        job.node, job.reservation, job.refusal = placement.node, placement.reservation, None
        self.nodes[placement.node].hold(job.key, job.spec.request, placement.reservation)
        self._ledger.step(job, "placed", now, placement.why)
        self._emit(act.Prepare(job.spec.id, job.attempt, placement.node, placement.reservation, placement.why))

    def slots(self) -> int:
        """All slots of the nodes that can be used now."""
        return total_slots(node for node in self.nodes.values() if node.state == NodeState.READY and not node.closed)
