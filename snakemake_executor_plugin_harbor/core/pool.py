"""The reactor. `handle(events, now) -> actions` is the only way in which the pool's state changes.

The pool knows nothing of sockets, disks, clocks and threads. So everything that decides can be tested, simulated and
fuzzed. The dispatcher is the only caller, and it calls on one thread.
"""

from collections.abc import Iterable

from . import actions as act
from . import events as ev
from .attempt_events import AttemptEvents
from .feasibility import Refusal
from .job import Job, impossible_message
from .job_table import CANCEL_GRACE_S, JobTable
from .lifecycle import HOLDING
from .machine import total_slots
from .model import BY_USER, JobId, NodeSpec, NodeState
from .node import NodeView
from .node_events import NodeEvents
from .node_table import NodeTable
from .placement import Placement
from .policy import Policy
from .progress import RuleDurations
from .time_limits import TimeLimits
from .timeouts import Timeouts
from .waiting import WaitingQueue


class Pool:
    """All nodes and all unfinished jobs of a run. Jobs that have ended are forgotten, so memory does not grow."""

    def __init__(
        self,
        nodes: Iterable[NodeSpec],
        policy: Policy | None = None,
        timeouts: Timeouts | None = None,
        boot_id: str = "",
    ) -> None:
        """`boot_id` is the boot id of the controller's machine. Nodes with the same boot id are that machine, so they
        prove nothing about the network.
        """
        limits = timeouts or Timeouts()
        self.policy = policy or Policy()
        self.durations = RuleDurations()
        self.hour: int | None = None
        self._actions: list[act.Action] = []
        self._nodes = NodeTable(nodes, self._emit)
        views = self._nodes.views
        self._jobs = JobTable(views, limits, self._emit)
        self.waiting = WaitingQueue(views, self.policy, self.durations, self._jobs.earlier_attempts.held_back)
        self._limits = TimeLimits(self._jobs, views, limits, self._emit, boot_id)
        self._attempt_events = AttemptEvents(
            self._jobs, self._nodes, self._limits, self.waiting, self.durations, self._emit
        )
        self._node_events = NodeEvents(self._nodes, self._jobs, self._attempt_events, self._emit)

    @property
    def nodes(self) -> dict[str, NodeView]:
        return self._nodes.views

    @property
    def jobs(self) -> dict[JobId, Job]:
        return self._jobs.jobs

    def queue(self) -> list[Job]:
        """Return the waiting jobs, the next one first. The order is priority, then longest expected duration, then
        depth in the DAG, then age.
        """
        return self.waiting.queue()

    def slots(self) -> int:
        """Return the number of slots of all nodes that can be used now."""
        return total_slots(node for node in self.nodes.values() if node.state == NodeState.READY and not node.closed)

    # --- events in, actions out -----------------------------------------------------------------------------

    def connect_all(self) -> list[act.Action]:
        """Return the first actions of a run, which connect to every node."""
        self._actions = []
        for node in self.nodes.values():
            self._nodes.connect(node)
        return self._actions

    def handle(self, events: Iterable[ev.Event], now: float) -> list[act.Action]:
        """Apply the events in order, then place the jobs that can be placed. Return the actions, in order."""
        self._actions = []
        for event in events:
            self._apply(event, now)
            self._mark_changes(event)
        self._nodes.remove_departed()
        self._jobs.earlier_attempts.decide(now)
        self._schedule(now)
        return self._actions

    def _apply(self, event: ev.Event, now: float) -> None:
        match event:
            case (
                ev.NodeUp()
                | ev.NodeDown()
                | ev.LoadMeasured()
                | ev.HostListChanged()
                | ev.DrainChanged()
                | ev.NodeForgotten()
            ):
                self._node_events.apply(event, now)
            case ev.Submitted(jobs):
                self._jobs.submit(jobs, now)
            case ev.CancelJob(job):
                self._jobs.cancel(self.jobs.get(job), CANCEL_GRACE_S, now, BY_USER)
            case ev.CancelAll(grace):
                self._jobs.cancel_all(grace, now)
            case ev.FenceAll():
                self._jobs.fence_all()
            case ev.FenceResult():
                self._jobs.earlier_attempts.fence_result(event, now)
            case ev.Halt():
                self._jobs.halt(now)
            case ev.Tick(hour):
                self.hour = hour
                self._nodes.tick(now)
                for name in self._limits.tick(now):
                    self._nodes.distrust(name)
            case _:
                self._attempt_events.apply(event, now)

    def _mark_changes(self, event: ev.Event) -> None:
        """Tell the waiting queue what an event may have changed, besides what `_emit` tells it."""
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

    # --- placement ------------------------------------------------------------------------------------------

    def _schedule(self, now: float) -> None:
        for job, decision in self.waiting.decide(now):
            if isinstance(decision, Refusal):
                job.refusal = decision
                self._jobs.transition(job, "impossible", now, impossible_message(decision))
            else:
                self._place(job, decision, now)

    def _place(self, job: Job, placement: Placement, now: float) -> None:
        job.node, job.reservation, job.refusal = placement.node, placement.reservation, None
        self.nodes[placement.node].hold(job.key, job.spec.request, placement.reservation)
        self._jobs.transition(job, "placed", now, placement.why)
        self._emit(act.Prepare(job.spec.id, job.attempt, placement.node, placement.reservation, placement.why))
