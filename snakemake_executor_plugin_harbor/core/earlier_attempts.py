"""Attempts of earlier runs: a job whose outputs one of them may still write is not placed before that is over.

An attempt of an earlier run is in one of these states:
- A node lists it as running, and no job adopts it: it is cancelled, and its end is waited for (`Job.blockers`).
- No node lists it, and the node where it was started has not answered: that node (`Job.maybe_running_on`) is waited for
  for `lost_after` seconds. Then the attempt is fenced, and the job starts `fence_wait` seconds later.
- No node lists it, and no node of the pool is the place where it was started (another host list, another scratch
  directory): it is fenced at once, and the job starts `fence_wait` seconds later.
- No node lists it, and the place where it was started has answered: it is over. It is fenced all the same, because a
  start message may still be on its way there.

Attempts that this directory started under another id (its `.snakemake` was deleted) are `foreign`: nobody knows which
jobs they are. They are cancelled, and no job at all is placed before they have ended.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from . import actions as act
from . import events as ev
from .job import Job, NodeAttempt
from .model import AttemptLocation, JobId, JobState
from .node import NodeView
from .node_reason import NodeReason

CANCEL_GRACE_S = 3.0
"""Between TERM and KILL, for an attempt of an earlier run."""
FOREIGN = "still runs {} jobs that were started here before .snakemake was deleted or replaced; they are being ended"
RUNS = NodeReason("still runs an earlier attempt of the job, which writes the same outputs; it is being ended")
SILENT = NodeReason("does not answer, and may still run it since an earlier run")
UNFENCED = NodeReason("waits for the fence of a lost attempt, which cannot be written now")
FENCED = NodeReason("waits until a lost attempt has ended (--harbor-fence-wait)")


class Times(Protocol):
    """How long a silent node is waited for, and how long a fence takes to bite (seconds)."""

    @property
    def lost_after(self) -> float: ...

    @property
    def fence_wait(self) -> float: ...


class EarlierAttempts:
    """Part of the ledger: `jobs` and `nodes` are its own, `emit` takes the actions."""

    def __init__(
        self,
        jobs: Mapping[JobId, Job],
        nodes: Mapping[str, NodeView],
        times: Times,
        emit: Callable[[act.Action], None],
    ) -> None:
        self._jobs = jobs
        self._nodes = nodes
        self._times = times
        self._emit = emit
        self._concerned: dict[JobId, Job] = {}
        self._doubtful = False
        self._names: set[str] = set()
        self._listed: dict[str, set[JobId]] = {}
        self._running: dict[JobId, set[NodeAttempt]] = {}
        self._foreign: set[NodeAttempt] = set()
        self._not_before = 0.0
        self._cancelled: set[NodeAttempt] = set()
        self._lost: set[NodeAttempt] = set()
        self._away: dict[str, float] = {}

    # --- what the reactor tells -----------------------------------------------------------------------------

    def submitted(self, job: Job) -> None:
        """A job came in."""
        if job.spec.earlier_ids:
            self._concerned[job.spec.id] = job
            self._doubtful = True
        else:
            job.earlier_decided = True

    def node_up(self, node: str, records: Iterable[ev.NodeRecord]) -> None:
        """A node listed these records, which are of no job here."""
        self._forget(node)
        self._away.pop(node, None)
        self._listed[node] = set()
        for record in records:
            key = (node, record.job, record.attempt)
            if record.running and record.foreign:
                self._foreign.add(key)
                self._cancel(key)
            elif record.running:
                self._running.setdefault(record.job, set()).add(key)
            self._listed[node].add(record.job)
        for job in self._all():
            job.blockers = {key for key in job.blockers if key[0] != node}
        self._doubtful = bool(self._concerned)

    def node_down(self, node: str, now: float) -> None:
        """What is being ended there may run on."""
        self._away.setdefault(node, now)

    def over(self, node: str, job: JobId, attempt: int) -> bool:
        """The attempt has ended, or its node does not know it. Whether it was ended from here."""
        key = (node, job, attempt)
        self._running.get(job, set()).discard(key)
        self._foreign.discard(key)
        if key not in self._cancelled:
            return False
        self._cancelled.discard(key)
        for blocked in self._all():
            blocked.blockers.discard(key)
        return True

    def adopted(self, job: Job, node: str, attempt: int) -> None:
        """The job goes on as that attempt."""
        job.maybe_running_on.clear()
        job.blockers.clear()
        job.earlier_decided = True
        self._running.get(job.spec.id, set()).discard((node, job.spec.id, attempt))

    def block(self, job: Job, node: str, attempt: int) -> None:
        """An older attempt of a job was given up and runs after all. The caller cancels it."""
        if job.state == JobState.QUEUED:
            key = (node, job.spec.id, attempt)
            self._cancelled.add(key)
            self._concerned[job.spec.id] = job
            job.blockers.add(key)

    def give_up(self, job: Job) -> None:
        """The job is cancelled: whatever an earlier run started of it is to end, wherever that is."""
        if not job.earlier_decided:
            self._clear(job, None)
        for _, id, attempt in [key for key in job.blockers if key[0] in self._away]:
            self._emit(act.Fence(id, attempt))

    def fenced(self, event: ev.FenceResult, now: float) -> None:
        """A fence could not be written, or was written late."""
        fence = (event.job, event.attempt)
        for job in {id(job): job for job in [*self._all(), *filter(None, [self._jobs.get(event.job)])]}.values():
            if not event.written and (job.spec.id == event.job or event.job in job.spec.earlier_ids):
                job.unfenced.add(fence)
            elif event.written and fence in job.unfenced:
                job.unfenced.discard(fence)
                job.not_before = max(job.not_before, now + self._times.fence_wait)
                job.fenced_at = now if job.fenced_at is not None else None

    def hold(self, now: float) -> None:
        """It may be us who are cut off: the time does not count."""
        for job in self._all():
            if job.maybe_running_on:
                job.since = now
        self._away = dict.fromkeys(self._away, now)

    def tick(self, now: float) -> None:
        """Give up what was waited for long enough."""
        for job in self._all():
            if job.maybe_running_on and now - job.since >= self._times.lost_after:
                self._clear(job, now)
        late = {node for node, since in self._away.items() if now - since >= self._times.lost_after}
        gone = self._names - self._nodes.keys()
        if late or gone:
            self._lose(late | gone, now)
        if self._names != self._nodes.keys():
            for node in gone:
                self._forget(node)
                self._away.pop(node, None)
            self._names, self._doubtful = set(self._nodes), True

    # --- what follows, once all events of a batch were applied ----------------------------------------------

    def decide(self, now: float) -> None:
        """Look at the jobs that were not adopted in this batch."""
        if not self._doubtful:
            return
        self._doubtful = False
        answers = _Answers(self._nodes)
        listed = {id for ids in self._listed.values() for id in ids}
        for job in self._all():
            running = {key for id in job.spec.earlier_ids for key in self._running.get(id, ())}
            for key in sorted(running - self._cancelled - self._lost):
                self._cancel(key)
            if job.state == JobState.QUEUED:
                job.blockers |= running - self._lost
                if not job.earlier_decided:
                    self._look(job, answers, listed, now)

    def held_back(self, job: Job, now: float) -> dict[str, NodeReason] | None:
        """Why a job is not placed yet, by node, though a node may have room for it."""
        if self._foreign:
            return {
                node: NodeReason(FOREIGN, (n,)) for node, n in Counter(node for node, _, _ in self._foreign).items()
            }
        if job.blockers:
            return {node: RUNS for node, _, _ in job.blockers}
        if job.maybe_running_on:
            return dict.fromkeys(job.maybe_running_on, SILENT)
        if job.unfenced:
            return {"every node": UNFENCED}
        if max(job.not_before, self._not_before) > now:
            return {"every node": FENCED}
        return None

    def _all(self) -> list[Job]:
        """The jobs that have attempts of earlier runs, or blockers."""
        self._concerned = {id: job for id, job in self._concerned.items() if self._jobs.get(job.spec.id) is job}
        return list(self._concerned.values())

    def _look(self, job: Job, answers: "_Answers", listed: set[JobId], now: float) -> None:
        """Whom to ask about the attempts that no node has listed."""
        unlisted = [id for id in job.spec.earlier_ids if id not in listed]
        awaited = [answers.awaited(job.spec.locations.get(id)) for id in unlisted]
        left = any(node not in self._nodes for node in job.maybe_running_on)
        lost = any(key[1] in job.spec.earlier_ids for key in self._lost)
        job.maybe_running_elsewhere = job.maybe_running_elsewhere or left or lost or None in awaited
        job.maybe_running_on = {node for nodes in awaited for node in nodes or ()}
        if not job.maybe_running_on:
            self._clear(job, now if job.maybe_running_elsewhere else None, listed)

    def _clear(self, job: Job, now: float | None, listed: Collection[JobId] = ()) -> None:
        """Fence what no node has listed; with `now`, the job waits until the fence bites."""
        job.maybe_running_on.clear()
        job.earlier_decided = True
        for id in job.spec.earlier_ids:
            if id not in listed:
                self._emit(act.Fence(id, None))
        if now is not None:
            job.not_before = max(job.not_before, now + self._times.fence_wait)

    def _cancel(self, key: NodeAttempt) -> None:
        node, id, attempt = key
        self._cancelled.add(key)
        self._emit(act.SendMessage(node, {"t": "cancel", "job": id, "attempt": attempt, "grace": CANCEL_GRACE_S}))

    def _lose(self, nodes: set[str], now: float) -> None:
        """Attempts on these nodes are not waited for any longer: a fence ends them."""
        for job in self._all():
            for key in [key for key in job.blockers if key[0] in nodes]:
                job.blockers.discard(key)
                job.not_before = max(job.not_before, now + self._times.fence_wait)
                self._emit(act.Fence(key[1], key[2]))
        self._lost |= {key for keys in self._running.values() for key in keys if key[0] in nodes}
        foreign = {key for key in self._foreign if key[0] in nodes}
        if foreign:
            # Their agents see that the directory has another id, which is a fence for all of them.
            self._foreign -= foreign
            self._not_before = now + self._times.fence_wait

    def _forget(self, node: str) -> None:
        self._listed.pop(node, None)
        for running in self._running.values():
            running -= {key for key in running if key[0] == node}
        self._running = {id: running for id, running in self._running.items() if running}
        for attempts in (self._foreign, self._cancelled, self._lost):
            attempts -= {key for key in attempts if key[0] == node}


class _Answers:
    """Which nodes have answered, for many questions about locations."""

    def __init__(self, nodes: Mapping[str, NodeView]) -> None:
        self._nodes = nodes
        self.unanswered = {name for name, node in nodes.items() if node.facts is None}
        self._spools: set[tuple[str, str, str, str]] = set()
        for name, node in nodes.items():
            if (facts := node.facts) is not None and facts.boot_id:
                self._spools |= {(facts.boot_id, facts.scratch, kind, who) for kind, who in _names(name, facts.host)}

    def awaited(self, place: AttemptLocation | None) -> set[str] | None:
        """The nodes that may run what was started there: none if it is over, None if no node of the pool can tell."""
        if place is None:
            return self.unanswered
        if any((place.boot_id, place.scratch, *pair) in self._spools for pair in _names(place.node, place.host)):
            return set()
        node = self._nodes.get(place.node)
        facts = node.facts if node is not None else None
        if facts is not None and facts.host == place.host and facts.boot_id != place.boot_id != "":
            return set()  # the same machine, which was rebooted since
        if place.fenced:
            return None
        if not place.node:
            return self.unanswered or None
        return {place.node} if place.node in self.unanswered else None


def _names(node: str, host: str) -> list[tuple[str, str]]:
    """What a node is recognised by: its name in the host list, or its own host name."""
    return [("node", node), ("host", host)] if host else [("node", node)]
