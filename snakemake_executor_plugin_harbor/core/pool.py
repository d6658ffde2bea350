"""The reactor: `handle(events, now) -> actions` is the only way in which the pool's state changes.

It knows nothing of sockets, disks, clocks or threads, so everything that decides can be tested, simulated and
fuzzed. The dispatcher is its only caller, on one thread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import events as ev
from .jobs import LOST, Job, elapsed, exit_event, exit_reason, impossible, seat_of
from .lifecycle import HOLDING, ON_NODE, TERMINAL, job_next
from .model import JobId, JobSpec, JobState, NodeSpec, NodeState, Outcome, Request, attempt_key
from .placement import NodeView, Placement, Policy, Refusal, machines, place
from .progress import Durations, Progress
from .roster import Roster

MAX_CRASHES = 3
CANCEL_GRACE_S = 5.0
"""Between TERM and KILL, for a single job."""
UNANSWERED_S = 120.0
"""A start that a node neither confirms nor refuses for this long: the connection is made anew, and hello tells."""


@dataclass(frozen=True)
class Patience:
    """How long an unreachable node's jobs are waited for, how long a fence takes to bite, and how long a job may
    show no sign of life (seconds); `kill_stalled` says what happens then.
    """

    lost_after: float = 120.0
    fence_wait: float = 90.0
    stall_after: float = 7200.0
    kill_stalled: bool = False


class Pool:
    """All nodes and unfinished jobs of a run. Jobs that have ended are forgotten: memory does not grow."""

    def __init__(
        self,
        nodes: Iterable[NodeSpec],
        policy: Policy | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self.patience = patience or Patience()
        self._roster = Roster(nodes, self._emit)
        self.jobs: dict[JobId, Job] = {}
        self.durations = Durations()
        self.halted = False
        self.hour: int | None = None
        self._order = 0
        self._grace: float | None = None
        self._orphans: set[str] = set()
        self._actions: list[ev.Action] = []

    @property
    def nodes(self) -> dict[str, NodeView]:
        return self._roster.views

    # --- the way in ---------------------------------------------------------------------------------

    def handle(self, events: Iterable[ev.Event], now: float) -> list[ev.Action]:
        """Apply events in order, then place what can be placed; returns what is to be done, in order."""
        self._actions = []
        for event in events:
            self._apply(event, now)
        self._roster.see_off()
        self._schedule(now)
        return self._actions

    def start(self) -> list[ev.Action]:
        """The first actions of a run: connect to every node."""
        self._actions = []
        for node in self.nodes.values():
            self._roster.connect(node)
        return self._actions

    def _apply(self, event: ev.Event, now: float) -> None:
        match event:
            case ev.Submitted(jobs):
                self._submit(jobs, now)
            case ev.Adopted():
                self._adopt(event, now)
            case ev.Prepared(job, attempt):
                self._prepared(job, attempt, now)
            case ev.Unprepared(job, attempt, trigger, reason):
                self._settle_placed(job, attempt, trigger, reason, now)
            case ev.NodeUp():
                self._node_up(event, now)
            case ev.NodeDown(name, reason, permanent):
                self._node_down(name, reason, permanent, now)
            case ev.Measured(name, load):
                if (node := self.nodes.get(name)) is not None:
                    node.load = load
            case ev.Started(name, job, attempt):
                self._alive(self._on(name, job, attempt), now, "started")
            case ev.Refused():
                self._refused(event, now)
            case ev.Progressed(name, job, attempt, done, total):
                if (running := self._on(name, job, attempt)) is not None:
                    running.progress = Progress(done, total)
                    self._alive(running, now)
            case ev.Alive(name, attempts):
                for job, attempt in attempts:
                    self._alive(self._on(name, job, attempt), now)
            case ev.Exited():
                self._exited(event, now)
            case ev.Gone(name, job, attempt):
                self._lost(self._on(name, job, attempt), "the node does not know it", now)
            case ev.CancelJob(job):
                self._cancel(self.jobs.get(job), CANCEL_GRACE_S, now)
            case ev.CancelAll(grace):
                self._grace = grace
                for running in list(self.jobs.values()):
                    self._cancel(running, grace, now)
            case ev.Halt():
                self._halt(now)
            case ev.Listed(nodes):
                self._roster.listed(nodes)
            case ev.Drain(name, reason):
                self._roster.drain(name, reason)
            case ev.Tick(hour):
                self.hour = hour
                self._tick(now)

    def _emit(self, action: ev.Action) -> None:
        self._actions.append(action)

    # --- jobs -----------------------------------------------------------------------------------------

    def _submit(self, specs: Iterable[JobSpec], now: float) -> None:
        for spec in specs:
            self._order += 1
            job = Job(spec, self._order, attempt=spec.attempt, since=now)
            if spec.former:
                job.suspects = {name for name, node in self.nodes.items() if node.facts is None}
            self.jobs[spec.id] = job
            self._record(job)
            if self._grace is not None:
                self._cancel(job, self._grace, now)
            elif self.halted:
                self._step(job, "withdraw", now)

    def _adopt(self, event: ev.Adopted, now: float) -> None:
        job = self.jobs.get(event.known_as or event.job)
        node = self.nodes.get(event.node)
        if job is None or node is None or job.state != JobState.QUEUED:
            return
        if event.known_as is not None:
            self.jobs[event.job] = self.jobs.pop(event.known_as)
            job.spec = replace(job.spec, id=event.job)
            self._emit(ev.Renamed(event.job, event.known_as))
        job.suspects.clear()
        job.attempt, job.node, job.seat = event.attempt, event.node, event.seat
        node.held[job.key] = (job.spec.request, job.seat)
        self._orphans.discard(job.key)
        self._alive(job, now, "adopted", "adopted from an earlier run")
        if event.exit is not None:
            self._apply(exit_event(event.node, event.job, event.attempt, event.exit), now)

    def _prepared(self, job_id: JobId, attempt: int, now: float) -> None:
        job = self._attempt(job_id, attempt)
        if job is None or job.node is None or job.state != JobState.PLACED:
            return
        if self.nodes[job.node].state != NodeState.READY:
            self._step(job, "unsent", now, f"{job.node} went away before it was sent")
        elif job.doomed:
            self._step(job, "unsent", now)
            self._step(job, "cancel", now, "cancelled")
        else:
            self._step(job, "sent", now)
            self._emit(ev.Start(job_id, attempt, job.node))

    def _settle_placed(self, job_id: JobId, attempt: int, trigger: str, reason: str, now: float) -> None:
        job = self._attempt(job_id, attempt)
        if job is not None and job.state == JobState.PLACED:
            self._step(job, trigger, now, reason)

    def _exited(self, event: ev.Exited, now: float) -> None:
        job = self._on(event.node, event.job, event.attempt)
        if job is None:
            if self._attempt(event.job, event.attempt) is None:
                self._stranger_exited(event)
            return
        self._roster.absolve(event.node)
        if event.reason in LOST and not job.doomed:
            stall = f"no output and no progress for {self._stall_after(job):.0f} s"
            self._forget(event.node, event.job, event.attempt)
            self._lost(job, stall if job.stalled else LOST[event.reason], now)
            return
        if event.code == 0 and event.reason is None:
            self.durations.learn(job.spec.rule, max(0.0, elapsed(event.message, now - job.since)))
            self._step(job, "exited-ok", now, exit=event.message)
        else:
            self._step(job, "exited-bad", now, exit_reason(event), exit=event.message)

    def _stranger_exited(self, event: ev.Exited) -> None:
        """An attempt that was given up: its record is of no more use. One of an earlier run is kept: its job may
        not have been handed over yet, and will be adopted.
        """
        key = attempt_key(event.job, event.attempt)
        if (node := self.nodes.get(event.node)) is not None:
            node.held.pop(key, None)
        if key in self._orphans:
            self._orphans.discard(key)
        else:
            self._forget(event.node, event.job, event.attempt)

    def _refused(self, event: ev.Refused, now: float) -> None:
        job = self._on(event.node, event.job, event.attempt)
        node = self.nodes.get(event.node)
        if job is None or node is None:
            return
        why = event.reason or event.kind
        if event.kind == "missing" and event.path:
            node.missing.add(event.path)
            job.avoid.add(event.node)
            why = f"no {event.path} there"
        elif event.kind == "disk" and node.load is not None:
            # Until the next sample says that there is room again.
            node.load = replace(node.load, disk_free_mb=0)
        else:
            self._roster.strike(node, why, now)
            job.avoid.add(event.node)
        self._step(job, "refused", now, f"refused by {event.node}: {why}")

    def _lost(self, job: Job | None, why: str, now: float) -> None:
        if job is None or job.node is None:
            return
        job.crashes += 1
        job.avoid.add(job.node)
        if job.crashes >= MAX_CRASHES and job.state != JobState.CANCELLING:
            self._step(
                job,
                "crashed",
                now,
                f"it was lost on {job.crashes} nodes, the last time because {why}",
            )
        else:
            self._step(job, "lost", now, f"lost on {job.node}: {why}")

    def _cancel(self, job: Job | None, grace: float, now: float) -> None:
        if job is None:
            return
        job.doomed = True
        if job.state in (JobState.STARTING, JobState.RUNNING) and job.node is not None:
            message = {"t": "cancel", "job": job.spec.id, "attempt": job.attempt, "grace": grace}
            self._emit(ev.Send(job.node, message))
        elif job.state == JobState.UNREACHABLE:
            self._fence(job)
        elif job.suspects:
            self._clear_suspects(job)
        self._step(job, "cancel", now, "cancelled")

    def _fence(self, job: Job) -> None:
        self._emit(ev.Fence(job.spec.id, job.attempt))

    def _clear_suspects(self, job: Job) -> None:
        """Whatever an earlier run started of this job, and wherever: it is to end."""
        job.suspects.clear()
        for former in job.spec.former:
            self._emit(ev.Fence(former, None))

    def _alive(self, job: Job | None, now: float, trigger: str | None = None, why: str = "") -> None:
        """A sign of life, perhaps with a transition."""
        if job is not None:
            job.sign, job.stalled = now, job.stalled and self.patience.kill_stalled
            if trigger is not None:
                self._step(job, trigger, now, why)

    def _stall_after(self, job: Job) -> float:
        own = job.spec.stall_after
        return self.patience.stall_after if own is None else own

    def _halt(self, now: float) -> None:
        self.halted = True
        for job in [j for j in self.jobs.values() if j.state == JobState.QUEUED]:
            self._step(job, "withdraw", now)

    def _step(
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
        if before in HOLDING and after not in HOLDING and job.node is not None:
            self._release(job, now)
        self._record(job)
        if after in TERMINAL:
            del self.jobs[job.spec.id]
            node = job.node if before in HOLDING else None
            self._emit(ev.Settle(Outcome(job.spec.id, job.attempt, after, node, why, exit)))
        elif after == JobState.QUEUED:
            job.attempt += 1
            job.node, job.progress, job.stalled = None, None, False
            if self.halted:
                self._step(job, "withdraw", now)

    def _release(self, job: Job, now: float) -> None:
        node = self.nodes.get(job.node or "")
        if node is not None:
            node.held.pop(job.key, None)
            if not node.held:
                node.idle_since = now

    def _record(self, job: Job) -> None:
        self._emit(ev.JobChanged(job.spec.id, job.attempt, job.state, job.node, job.why))

    def _attempt(self, job_id: JobId, attempt: int) -> Job | None:
        """The job, if that is its present attempt: the fence against late messages."""
        job = self.jobs.get(job_id)
        return job if job is not None and job.attempt == attempt else None

    def _on(self, node: str, job_id: JobId, attempt: int) -> Job | None:
        job = self._attempt(job_id, attempt)
        return job if job is not None and job.node == node and job.state in ON_NODE else None

    def _forget(self, node: str, job: JobId, attempt: int) -> None:
        self._emit(ev.Send(node, {"t": "forget", "job": job, "attempt": attempt}))

    # --- nodes ----------------------------------------------------------------------------------------

    def _node_up(self, event: ev.NodeUp, now: float) -> None:
        node = self._roster.up(event.node)
        if node is None:
            return
        rebooted = node.facts is not None and node.facts.boot_id != event.facts.boot_id
        node.facts, node.load, node.idle_since = event.facts, None, now
        node.missing.clear()
        for job in self.jobs.values():
            job.suspects.discard(event.node)
        known = {(k.job, k.attempt): k for k in event.known}
        for job in [j for j in self.jobs.values() if j.node == event.node and j.state in ON_NODE]:
            record = known.pop((job.spec.id, job.attempt), None)
            if record is None:
                self._lost(job, "the node was rebooted" if rebooted else "the node does not know it", now)
            elif record.exit is not None:
                self._apply(exit_event(event.node, record.job, record.attempt, record.exit), now)
            else:
                self._alive(job, now, "found")
        self._take_in(node, known)

    def _take_in(self, node: NodeView, known: dict[tuple[JobId, int], ev.Known]) -> None:
        """Records that no job here waits for. What runs keeps its seat until it ends: it may be adopted yet.
        Old attempts of our own jobs were replaced, so they end now.
        """
        ours = {job.key for job in self.jobs.values() if job.node == node.spec.name and job.state in HOLDING}
        node.held = {key: held for key, held in node.held.items() if key in ours}
        for (job_id, attempt), record in known.items():
            job = self.jobs.get(job_id)
            if job is not None and attempt >= job.attempt:
                continue
            if job is None:
                self._orphans.add(attempt_key(job_id, attempt))
            if record.running:
                seat = seat_of(record.meta)
                node.held[attempt_key(job_id, attempt)] = (Request(cores=len(seat.slots)), seat)
            if job is not None and record.running:
                message = {"t": "cancel", "job": job_id, "attempt": attempt, "grace": CANCEL_GRACE_S}
                self._emit(ev.Send(node.spec.name, message))
            elif job is not None:
                self._forget(node.spec.name, job_id, attempt)

    def _node_down(self, name: str, reason: str, permanent: bool, now: float) -> None:
        if self._roster.down(name, reason, permanent, now) is None:
            return
        for job in [j for j in self.jobs.values() if j.node == name]:
            if job.state == JobState.CANCELLING:
                self._fence(job)
            self._step(job, "channel-lost", now, reason)

    def _tick(self, now: float) -> None:
        self._roster.tick(now)
        unanswered = set()
        for job in [j for j in self.jobs.values() if j.state in ON_NODE]:
            waited = now - job.since
            if job.state == JobState.UNREACHABLE and job.fenced_at is None and waited >= self.patience.lost_after:
                # Until the fence bites, word may come that it had ended by itself.
                job.fenced_at = now
                self._fence(job)
            elif job.fenced_at is not None and now - job.fenced_at >= self.patience.fence_wait:
                self._lost(job, f"unreachable for {waited:.0f} s", now)
            elif job.state == JobState.STARTING and waited >= UNANSWERED_S and job.node is not None:
                unanswered.add(job.node)
            elif job.state == JobState.RUNNING and not job.stalled and now - job.sign >= self._stall_after(job):
                self._stall(job)
        for job in [j for j in self.jobs.values() if j.suspects and now - j.since >= self.patience.lost_after]:
            self._clear_suspects(job)
            job.not_before = now + self.patience.fence_wait
        for name in sorted(unanswered):
            self._emit(ev.Cut(name))

    def _stall(self, job: Job) -> None:
        """A job gave no sign of life for too long: the user hears of it, or it ends and is tried elsewhere."""
        job.stalled = True
        assert job.node is not None
        kill = self.patience.kill_stalled
        self._emit(ev.Stalled(job.spec.id, job.node, self._stall_after(job), kill))
        if kill:
            message = {"t": "cancel", "job": job.spec.id, "attempt": job.attempt, "grace": CANCEL_GRACE_S}
            self._emit(ev.Send(job.node, message))

    # --- placement --------------------------------------------------------------------------------------

    def queue(self) -> list[Job]:
        """Jobs that wait, next first: priority, then longest expected, then deepest in the DAG, then oldest."""
        waiting = [job for job in self.jobs.values() if job.state == JobState.QUEUED]
        waiting.sort(
            key=lambda j: (
                -j.spec.priority,
                -self.durations.expected(j.spec.rule),
                -j.spec.depth,
                j.order,
            )
        )
        return waiting

    def _schedule(self, now: float) -> None:
        queue = self.queue()
        if not queue:
            return
        peers = machines(self.nodes.values())
        refused: dict[tuple[Request, frozenset[str]], Refusal] = {}
        for job in queue:
            if job.suspects:
                silent = "does not answer, and may still run it since an earlier run"
                job.refusal = Refusal(dict.fromkeys(job.suspects, silent))
                continue
            if job.not_before > now:
                job.refusal = Refusal({"every node": "waits until a lost attempt has ended (--harbor-fence-wait)"})
                continue
            question = (job.spec.request, frozenset(job.avoid))
            answer = refused.get(question) or place(
                job.spec.request,
                self.nodes,
                self.policy,
                now,
                hour=self.hour,
                avoid=job.avoid,
                peers=peers,
            )
            if isinstance(answer, Refusal):
                refused[question] = answer
                job.refusal = answer
                if answer.forever:
                    self._step(job, "impossible", now, impossible(answer))
                continue
            self._place(job, answer, now)

    def _place(self, job: Job, placement: Placement, now: float) -> None:
        job.node, job.seat, job.refusal = placement.node, placement.seat, None
        self.nodes[placement.node].held[job.key] = (job.spec.request, placement.seat)
        self._step(job, "placed", now, placement.why)
        self._emit(ev.Launch(job.spec.id, job.attempt, placement.node, placement.seat, placement.why))

    def slots(self) -> int:
        """All slots of the nodes that can be used now."""
        return sum(node.slots for node in self.nodes.values() if node.state == NodeState.READY and not node.closed)
