"""The time limits of jobs on nodes: unreachable nodes, unanswered starts, and jobs without activity."""

from collections.abc import Callable, Mapping

from . import actions as act
from .job import STALLED, Job
from .job_table import CANCEL_GRACE_S, JobTable
from .lifecycle import CONNECTED, ON_NODE
from .model import JobState, NodeFacts
from .node import NodeView
from .timeouts import Timeouts

UNANSWERED_S = 120.0
"""If a node neither confirms nor refuses a start within this time, the controller reconnects. The records that the node
lists after its hello show whether the job was started."""


class TimeLimits:
    """Enforces the time limits of the jobs in a job table. `boot_id` is the boot id of the controller's machine."""

    def __init__(
        self,
        jobs: JobTable,
        nodes: Mapping[str, NodeView],
        timeouts: Timeouts,
        emit: Callable[[act.Action], None],
        boot_id: str,
    ) -> None:
        self._jobs = jobs
        self._nodes = nodes
        self._timeouts = timeouts
        self._emit = emit
        self._boot_id = boot_id

    def tick(self, now: float) -> set[str]:
        """Act on limits that have passed. Return the nodes that have not answered a start."""
        if not self._network_works():
            self._restart_timers(now)
        unanswered = set()
        for job in [j for j in self._jobs.holding.values() if j.state in ON_NODE]:
            waited = now - job.since
            forgotten = self._node_was_forgotten(job)
            lost_after = 0.0 if forgotten or self._node_was_removed(job) else self._timeouts.lost_after
            fence_wait = 0.0 if forgotten or job.staged else self._timeouts.fence_wait
            if job.state == JobState.UNREACHABLE and job.fenced_at is None and waited >= lost_after:
                # Until the fence takes effect, the node may report that the attempt had ended by itself.
                job.fenced_at = now
                self._jobs.fence(job)
            elif job.fenced_at is not None and now - job.fenced_at >= fence_wait:
                if not job.unfenced:
                    why = "the user has given up the node" if forgotten else f"unreachable for {waited:.0f} s"
                    self._jobs.attempt_lost(job, why, now)
            elif job.state == JobState.STARTING and waited >= UNANSWERED_S and job.node is not None:
                unanswered.add(job.node)
            elif job.state == JobState.RUNNING and not job.stalled and now - job.last_active >= self.stall_after(job):
                self._stall(job)
        self._jobs.earlier_attempts.tick(now)
        for name in sorted(unanswered):
            self._emit(act.Reconnect(name))
        return unanswered

    def stall_after(self, job: Job) -> float:
        """Return the seconds without activity after which the job is stalled."""
        own = job.spec.stall_after
        return self._timeouts.stall_after if own is None else own

    def _restart_timers(self, now: float) -> None:
        """The controller itself may be cut off, so this time does not count for unreachable nodes. It does count for
        nodes that the user has taken out of the host list.
        """
        for job in self._jobs.holding.values():
            if job.state == JobState.UNREACHABLE and not self._node_was_removed(job):
                job.since = now
        self._jobs.earlier_attempts.restart_timers(now)

    def _network_works(self) -> bool:
        """Return whether a connected node proves that the controller's network works.

        The controller's own machine proves nothing, unless the pool has no other one. If it is reached over SSH, it
        proves nothing while other machines are known.
        """
        nodes = [node for node in self._nodes.values() if not node.spec.local] or list(self._nodes.values())
        others = [node for node in nodes if node.facts is not None and not self._is_controller(node.facts)]
        return any(node.state in CONNECTED for node in others or nodes)

    def _is_controller(self, facts: NodeFacts) -> bool:
        return bool(self._boot_id) and facts.boot_id == self._boot_id

    def _node_was_removed(self, job: Job) -> bool:
        """Return whether the job's node was taken out of the host list, so that nobody expects it to return."""
        node = self._nodes.get(job.node or "")
        return node is not None and node.leaving and node.successor is None

    def _node_was_forgotten(self, job: Job) -> bool:
        """Return whether the job's node is dead, as the user says. The fence is written all the same."""
        node = self._nodes.get(job.node or "")
        return node is not None and node.forgotten

    def _stall(self, job: Job) -> None:
        """The job showed no activity for too long. Warn the user, or kill it so that it is retried elsewhere."""
        job.stalled = True
        assert job.node is not None
        self._jobs.report(job, f"{STALLED} for {self.stall_after(job):.0f} s")
        kill = self._timeouts.kill_stalled
        last = kill and self._jobs.is_last_chance(job)
        self._emit(act.JobStalled(job.spec.id, job.node, self.stall_after(job), kill, last))
        if kill:
            self._emit(act.cancel_message(job.node, job.spec.id, job.attempt, CANCEL_GRACE_S))
