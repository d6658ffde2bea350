"""Events about nodes: a node has connected or disconnected, has sent a load sample, or was edited by the user."""

from collections.abc import Callable

from . import actions as act
from . import events as ev
from .attempt_events import AttemptEvents
from .job import exit_event, reservation_of
from .job_table import CANCEL_GRACE_S, JobTable
from .lifecycle import ON_NODE
from .model import JobId, JobState, Load, Request, attempt_key
from .node import NodeView
from .node_table import UNSHARED, NodeTable

Records = dict[tuple[JobId, int], ev.NodeRecord]


class NodeEvents:
    """Applies events about nodes to the node table and the job table."""

    def __init__(
        self, nodes: NodeTable, jobs: JobTable, attempts: AttemptEvents, emit: Callable[[act.Action], None]
    ) -> None:
        self._nodes = nodes
        self._jobs = jobs
        self._attempts = attempts
        self._emit = emit

    def apply(self, event: ev.NodeEvent, now: float) -> None:
        """Apply one event."""
        match event:
            case ev.LoadMeasured(name, load):
                self._load_measured(name, load)
            case ev.NodeUp():
                self._node_up(event, now)
            case ev.NodeDown():
                self._node_down(event, now)
            case ev.HostListChanged(nodes):
                self._nodes.apply_host_list(nodes)
            case ev.DrainChanged(name, reason):
                self._nodes.set_drain(name, reason)
            case ev.NodeForgotten(name):
                if self._nodes.forget(name):
                    self._jobs.earlier_attempts.node_forgotten(name, now)

    def _load_measured(self, name: str, load: Load) -> None:
        node = self._nodes.get(name)
        if node is None:
            return
        node.measure(load)
        if not load.shared and not node.staged:
            self._nodes.mark_unshared(node, UNSHARED)
        else:
            self._nodes.mark_shared(node)

    def _node_down(self, event: ev.NodeDown, now: float) -> None:
        if self._nodes.disconnected(event, now) is None:
            return
        self._jobs.earlier_attempts.node_disconnected(event.node, now)
        for job in [j for j in self._jobs.holding.values() if j.node == event.node]:
            if job.state == JobState.CANCELLING:
                self._jobs.fence(job)
            self._jobs.transition(job, "channel-lost", now, event.reason)

    def _node_up(self, event: ev.NodeUp, now: float) -> None:
        """Compare the jobs that should be on the node with the records that it has listed."""
        node = self._nodes.connected(event.node, now)
        if node is None:
            return
        rebooted = node.facts is not None and node.facts.boot_id != event.facts.boot_id
        node.facts, node.load, node.idle_since = event.facts, None, now
        node.missing.clear()
        if event.unusable:
            self._nodes.mark_unshared(node, event.unusable)
        records = {(record.job, record.attempt): record for record in event.records}
        for job in [j for j in self._jobs.holding.values() if j.node == event.node and j.state in ON_NODE]:
            record = records.pop((job.spec.id, job.attempt), None)
            if record is None:
                if not (job.last_active or rebooted):
                    # Its start message may still be on the way to an older agent of the node.
                    self._jobs.fence(job)
                self._jobs.attempt_lost(job, "the node was rebooted" if rebooted else "the node does not know it", now)
            elif rebooted and record.exit is not None and record.exit.get("reason") == "lost":
                self._jobs.forget_record(event.node, record.job, record.attempt)
                self._jobs.attempt_lost(job, "the node was rebooted", now)
            elif record.exit is not None:
                self._attempts.exited(exit_event(event.node, record.job, record.attempt, record.exit), now)
            else:
                self._jobs.mark_active(job, now, "found")
        self._apply_other_records(node, records, now)

    def _apply_other_records(self, node: NodeView, records: Records, now: float) -> None:
        """Apply the records of attempts that are no present attempt of a job.

        A running attempt keeps its reservation until it ends, because it may still be adopted. Old attempts of the jobs
        of this run were replaced, so they are ended now.
        """
        name = node.spec.name
        present = {job.key for job in self._jobs.holding.values() if job.node == name}
        for key in [key for key in node.reservations if key not in present]:
            node.release(key, now)
        unclaimed = self._attempts.unclaimed[name] = set[str]()
        strangers = [record for record in records.values() if record.job not in self._jobs.jobs]
        self._jobs.earlier_attempts.records_listed(name, strangers)
        for (job_id, attempt), record in records.items():
            job = self._jobs.jobs.get(job_id)
            if job is not None and attempt >= job.attempt:
                continue
            if job is None:
                unclaimed.add(attempt_key(job_id, attempt))
            if record.running:
                reservation = reservation_of(record.meta)
                node.hold(attempt_key(job_id, attempt), Request(cores=len(reservation.slots)), reservation)
            if job is not None and record.running:
                self._emit(act.cancel_message(name, job_id, attempt, CANCEL_GRACE_S))
                self._jobs.earlier_attempts.block_until_ended(job, name, attempt)
            elif job is not None:
                self._jobs.forget_record(name, job_id, attempt)
