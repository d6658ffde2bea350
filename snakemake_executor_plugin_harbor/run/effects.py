"""Carries out what the pool has decided, in an order that survives a crash."""

import time
from collections.abc import Iterable, Sequence

from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import JobId, JobState, NodeState
from ..core.pool import Pool
from ..remote.links import Links
from ..store.fence_dir import FenceDir
from ..store.journal_writer import Journal
from .client import Notices
from .inbox import Batch, Inbox
from .node_records import NodeRecords
from .prepare_threads import PrepareThreads
from .report_thread import ReportThread
from .wait_recorder import WaitRecorder


class Effects:
    """Used on the dispatcher's thread. `logs` holds the path of the log of each job's latest attempt."""

    def __init__(
        self,
        pool: Pool,
        inbox: Inbox,
        journal: Journal,
        fences: FenceDir,
        links: Links,
        prepare_threads: PrepareThreads,
        report_thread: ReportThread,
        waits: WaitRecorder,
        records: NodeRecords,
        notices: Notices,
        logs: dict[JobId, str],
    ) -> None:
        self._pool = pool
        self._inbox = inbox
        self._journal = journal
        self._fences = fences
        self._links = links
        self._prepare_threads = prepare_threads
        self._report_thread = report_thread
        self._waits = waits
        self._records = records
        self._notices = notices
        self._logs = logs

    def perform(self, actions: Sequence[act.Action], batch: Batch) -> None:
        """Carry out a round's actions, and what the batch asks for besides its events.

        The journal is committed before any message leaves, so it knows of everything that a node may have begun, even
        if this process is killed at any instruction.
        """
        self._record(actions, batch)
        self._prepare_threads.put([action for action in actions if isinstance(action, act.Prepare)])
        for barrier in batch.barriers:
            barrier.set()
        self._journal.commit()
        self._links.send(self._outgoing(actions, batch))
        self._report_thread.put([action.outcome for action in actions if isinstance(action, act.JobEnded)])
        for action in actions:
            self._follow_up(action)

    def _record(self, actions: Iterable[act.Action], batch: Batch) -> None:
        """Gather the rows of the journal, and write fences."""
        now = time.time()
        for end in batch.corrected_ends:  # first, because the job may have been handed over again since
            ended = end.outcome
            self._journal.add_change(
                ended.job, ended.attempt, ended.state.value, ended.node, ended.reason, now, end.log
            )
            self._journal.add_exit(ended.job, ended.exit or {})
        for action in actions:
            match action:
                case act.JobChanged(job, attempt, state, node, reason):
                    if state == JobState.QUEUED:
                        self._waits.add_waiting(job)
                    self._journal.add_change(job, attempt, state.value, node, reason, now, self._logs.get(job))
                case act.JobRenamed(job, submitted_as):
                    self._journal.rename_job(job, submitted_as)
                case act.JobEnded(outcome):
                    self._logs.pop(outcome.job, None)
                    if outcome.exit is not None:
                        self._journal.add_exit(outcome.job, outcome.exit)
                case act.NodeChanged(name, NodeState.REMOVED):
                    self._journal.remove_node(name)
                case act.NodeChanged(name):
                    if (view := self._pool.nodes.get(name)) is not None:
                        self._journal.set_node(view, now)
                case act.Fence(job, fenced):
                    if not self._fences.fence(job, fenced):
                        self._inbox.post(ev.FenceResult(job, fenced, written=False))

    def _outgoing(self, actions: Iterable[act.Action], batch: Batch) -> dict[str, list[Message]]:
        """Gather all messages of the round, by node."""
        outgoing: dict[str, list[Message]] = {}
        for action in actions:
            match action:
                case act.SendStart(job, attempt, node):
                    outgoing.setdefault(node, []).append(self._prepare_threads.message(job, attempt))
                case act.SendMessage(node, message):
                    outgoing.setdefault(node, []).append(message)
        for item in batch.messages:
            outgoing.setdefault(item.node, []).append(item.message)
        return outgoing

    def _follow_up(self, action: act.Action) -> None:
        """Open and close connections, and write notices for the user."""
        match action:
            case act.NodeChanged(name, state):
                if state == NodeState.REJECTED:
                    self._links.reject(name)
                self._notices.notify(action)
            case act.JobStalled():
                self._notices.notify(action)
            case act.Connect(spec):
                self._links.connect(spec)
            case act.Disconnect(name):
                self._records.remove_node(name)
                self._links.disconnect(name)
            case act.Reconnect(name):
                self._links.abort(name)
