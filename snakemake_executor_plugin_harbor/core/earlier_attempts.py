"""Attempts of earlier runs. A job is not placed while such an attempt may still write the job's outputs.

An attempt of an earlier run is in one of these states:
- A node lists it as running, and no job adopts it. It is cancelled, and the job waits for its end (`Job.blockers`).
- No node lists it, and the node where it was started has not answered. The job waits for that node
  (`Job.maybe_running_on`) for `lost_after` seconds. Then the attempt is fenced, and the job starts `fence_wait` seconds
  later. If the user says that the node is dead, it is fenced and the job starts at once.
- No node lists it, and the place where it was started is no node of the pool (another host list, another scratch
  directory). It is fenced at once, and the job starts `fence_wait` seconds later.
- No node lists it, and the place where it was started has answered. It is over. It is fenced all the same, because a
  start message may still be on its way there.

If `.snakemake` was deleted, this directory has started attempts under another id. Such attempts are `foreign`, because
nobody knows which jobs they are. They are cancelled, and no job at all is placed before they have ended.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from . import actions as act
from . import events as ev
from .job import Job, NodeAttempt
from .model import JobId, JobState
from .node import NodeView
from .node_answers import NodeAnswers
from .node_reason import NodeReason
from .timeouts import Timeouts

CANCEL_GRACE_S = 3.0
"""The time between SIGTERM and SIGKILL for an attempt of an earlier run."""
FOREIGN = "still runs {} jobs that were started here before .snakemake was deleted or replaced; they are being ended"
RUNS = NodeReason("still runs an earlier attempt of the job, which writes the same outputs; it is being ended")
SILENT = (
    "does not answer, and may still run it since an earlier run. It waits {:.0f} s more at most. If the node is dead, "
    "type: harbor forget {}"
)
UNFENCED = NodeReason("waits for the fence of a lost attempt, which cannot be written now")
FENCED = "waits until a lost attempt has ended ({:.0f} s more, --harbor-fence-wait)"
WRITTEN_S = 0.5
"""If a fence cannot be written, the pool knows it after this time."""


class EarlierAttempts:
    """A part of the job table, which owns `jobs`. `emit` receives the actions.

    `_listed` and `_running` are what the connected nodes have listed after their hello. `_cancelled` are attempts that
    were cancelled from here and have not ended. `_lost` are attempts that are no longer waited for. `_disconnected`
    holds the nodes without a connection, and since when their attempts are waited for.
    """

    def __init__(
        self,
        jobs: Mapping[JobId, Job],
        nodes: Mapping[str, NodeView],
        timeouts: Timeouts,
        emit: Callable[[act.Action], None],
    ) -> None:
        self._jobs = jobs
        self._nodes = nodes
        self._timeouts = timeouts
        self._emit = emit
        self._concerned: dict[JobId, Job] = {}
        self._must_decide = False
        self._node_names: set[str] = set()
        self._listed: dict[str, set[JobId]] = {}
        self._running: dict[JobId, set[NodeAttempt]] = {}
        self._foreign: set[NodeAttempt] = set()
        self._not_before = 0.0
        self._cancelled: set[NodeAttempt] = set()
        self._lost: set[NodeAttempt] = set()
        self._disconnected: dict[str, float] = {}

    # --- events that the reactor passes on ------------------------------------------------------------------

    def job_submitted(self, job: Job) -> None:
        """A job was submitted. It waits for a decision if earlier runs have started it."""
        if job.spec.earlier_ids:
            self._concerned[job.spec.id] = job
            self._must_decide = True
        else:
            job.earlier_decided = True

    def records_listed(self, node: str, records: Iterable[ev.NodeRecord]) -> None:
        """A node has connected and has listed these records, which belong to no job of this run."""
        self._forget_node(node)
        self._disconnected.pop(node, None)
        self._listed[node] = set()
        for record in records:
            key = (node, record.job, record.attempt)
            if record.running and record.foreign:
                self._foreign.add(key)
                self._cancel(key)
            elif record.running:
                self._running.setdefault(record.job, set()).add(key)
            self._listed[node].add(record.job)
        for job in self._concerned_jobs():
            job.blockers = {key for key in job.blockers if key[0] != node}
        self._must_decide = bool(self._concerned)

    def node_disconnected(self, node: str, now: float) -> None:
        """A connection has ended. Attempts that are being ended on the node may go on."""
        self._disconnected.setdefault(node, now)

    def attempt_ended(self, node: str, job: JobId, attempt: int) -> bool:
        """The attempt has ended, or its node does not know it. Return whether it was cancelled from here."""
        key = (node, job, attempt)
        self._running.get(job, set()).discard(key)
        self._foreign.discard(key)
        if key not in self._cancelled:
            return False
        self._cancelled.discard(key)
        for blocked in self._concerned_jobs():
            blocked.blockers.discard(key)
        return True

    def job_adopted(self, job: Job, node: str, attempt: int) -> None:
        """The job continues as that attempt."""
        job.maybe_running_on.clear()
        job.blockers.clear()
        job.earlier_decided = True
        self._running.get(job.spec.id, set()).discard((node, job.spec.id, attempt))

    def block_until_ended(self, job: Job, node: str, attempt: int) -> None:
        """An older attempt of the job was given up and still runs. The caller cancels it, and the job waits for it."""
        if job.state == JobState.QUEUED:
            key = (node, job.spec.id, attempt)
            self._cancelled.add(key)
            self._concerned[job.spec.id] = job
            job.blockers.add(key)

    def job_cancelled(self, job: Job) -> None:
        """The job is cancelled. Everything that earlier runs have started of it has to end, wherever it runs."""
        if not job.earlier_decided:
            self._fence_unlisted(job, None)
        for _, id, attempt in [key for key in job.blockers if key[0] in self._disconnected]:
            self._emit(act.Fence(id, attempt))

    def fence_result(self, event: ev.FenceResult, now: float) -> None:
        """A fence could not be written, or was written later."""
        fence = (event.job, event.attempt)
        concerned = [*self._concerned_jobs(), *filter(None, [self._jobs.get(event.job)])]
        for job in {id(job): job for job in concerned}.values():
            if not event.written and (job.spec.id == event.job or event.job in job.spec.earlier_ids):
                job.unfenced.add(fence)
            elif event.written and fence in job.unfenced:
                job.unfenced.discard(fence)
                job.not_before = max(job.not_before, now + self._timeouts.fence_wait)
                job.fenced_at = now if job.fenced_at is not None else None

    def node_forgotten(self, node: str, now: float) -> None:
        """The user says that the node is dead, so its attempts are over. They are fenced all the same."""
        self._give_up_nodes({node}, now + WRITTEN_S)
        for job in self._concerned_jobs():
            if node in job.maybe_running_on:
                job.not_before = max(job.not_before, now + WRITTEN_S)
        self._must_decide = True

    def restart_timers(self, now: float) -> None:
        """The controller itself may be cut off, so the time until now does not count."""
        for job in self._concerned_jobs():
            if job.maybe_running_on:
                job.since = now
        self._disconnected = dict.fromkeys(self._disconnected, now)

    def tick(self, now: float) -> None:
        """Give up what was waited for long enough."""
        lost_after = self._timeouts.lost_after
        for job in self._concerned_jobs():
            if job.maybe_running_on and now - job.since >= lost_after:
                self._fence_unlisted(job, now)
        late = {node for node, since in self._disconnected.items() if now - since >= lost_after}
        removed = self._node_names - self._nodes.keys()
        if late or removed:
            self._give_up_nodes(late | removed, now + self._timeouts.fence_wait)
        if self._node_names != self._nodes.keys():
            for node in removed:
                self._forget_node(node)
                self._disconnected.pop(node, None)
            self._node_names, self._must_decide = set(self._nodes), True

    # --- decisions, after all events of a batch were applied ----------------------------------------------------

    def decide(self, now: float) -> None:
        """Decide about the jobs that were not adopted in this batch."""
        if not self._must_decide:
            return
        self._must_decide = False
        answers = NodeAnswers(self._nodes)
        listed = {id for ids in self._listed.values() for id in ids}
        for job in self._concerned_jobs():
            running = {key for id in job.spec.earlier_ids for key in self._running.get(id, ())}
            for key in sorted(running - self._cancelled - self._lost):
                self._cancel(key)
            if job.state == JobState.QUEUED:
                job.blockers |= running - self._lost
                if not job.earlier_decided:
                    self._find_unanswered(job, answers, listed, now)

    def held_back(self, job: Job, now: float) -> dict[str, NodeReason] | None:
        """Return, by node, why the job is not placed although a node may have room for it. None: it may be placed."""
        if self._foreign:
            counts = Counter(node for node, _, _ in self._foreign)
            return {node: NodeReason(FOREIGN, (count,)) for node, count in counts.items()}
        if job.blockers:
            return {node: RUNS for node, _, _ in job.blockers}
        if job.maybe_running_on:
            left = max(0.0, job.since + self._timeouts.lost_after - now) + self._timeouts.fence_wait
            return {node: NodeReason(SILENT, (left, node)) for node in job.maybe_running_on}
        if job.unfenced:
            return {"every node": UNFENCED}
        left = max(job.not_before, self._not_before) - now
        if left > 0:
            return {"every node": NodeReason(FENCED, (left,))}
        return None

    def _concerned_jobs(self) -> list[Job]:
        """Return the unfinished jobs that have attempts of earlier runs, or blockers."""
        self._concerned = {id: job for id, job in self._concerned.items() if self._jobs.get(job.spec.id) is job}
        return list(self._concerned.values())

    def _find_unanswered(self, job: Job, answers: NodeAnswers, listed: set[JobId], now: float) -> None:
        """Find the nodes that must answer about the job's attempts that no node has listed."""
        unlisted = [id for id in job.spec.earlier_ids if id not in listed]
        awaited = [answers.awaited(job.spec.locations.get(id)) for id in unlisted]
        removed = any(node not in self._nodes for node in job.maybe_running_on)
        lost = any(key[1] in job.spec.earlier_ids for key in self._lost)
        job.maybe_running_elsewhere = job.maybe_running_elsewhere or removed or lost or None in awaited
        job.maybe_running_on = {node for nodes in awaited for node in nodes or ()}
        if not job.maybe_running_on:
            self._fence_unlisted(job, now if job.maybe_running_elsewhere else None, listed)

    def _fence_unlisted(self, job: Job, now: float | None, listed: Collection[JobId] = ()) -> None:
        """Fence the attempts that no node has listed. If `now` is given, the job waits until the fence takes effect."""
        job.maybe_running_on.clear()
        job.earlier_decided = True
        for id in job.spec.earlier_ids:
            if id not in listed:
                self._emit(act.Fence(id, None))
        if now is not None:
            job.not_before = max(job.not_before, now + self._timeouts.fence_wait)

    def _cancel(self, key: NodeAttempt) -> None:
        self._cancelled.add(key)
        self._emit(act.cancel_message(*key, CANCEL_GRACE_S))

    def _give_up_nodes(self, nodes: set[str], not_before: float) -> None:
        """Stop waiting for attempts on these nodes. A fence ends them until `not_before`."""
        for job in self._concerned_jobs():
            for key in [key for key in job.blockers if key[0] in nodes]:
                job.blockers.discard(key)
                job.not_before = max(job.not_before, not_before)
                self._emit(act.Fence(key[1], key[2]))
        self._lost |= {key for keys in self._running.values() for key in keys if key[0] in nodes}
        foreign = {key for key in self._foreign if key[0] in nodes}
        if foreign:
            # Their agents see that the directory has another id, which acts as a fence for all of them.
            self._foreign -= foreign
            self._not_before = not_before

    def _forget_node(self, node: str) -> None:
        self._listed.pop(node, None)
        for running in self._running.values():
            running -= {key for key in running if key[0] == node}
        self._running = {id: running for id, running in self._running.items() if running}
        for attempts in (self._foreign, self._cancelled, self._lost):
            attempts -= {key for key in attempts if key[0] == node}
