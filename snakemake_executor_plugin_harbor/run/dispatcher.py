"""The thread that owns the pool: takes events, asks the reactor, writes the journal, then acts.

Order is the point: what the journal records is durable before a message leaves. Preparing a job (which touches
disks) happens on the launcher's thread, telling Snakemake (which takes its lock) on the reporter's, so that
neither delays the other or the heartbeat of the nodes.
"""

import binascii
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..core import events as ev
from ..core.lifecycle import HOLDING, ON_NODE
from ..core.model import JobId, NodeFacts, NodeSpec, NodeState, Outcome
from ..core.pool import Pool
from ..core.progress import progress_of
from ..core.protocol import Message
from ..remote.link import Link
from ..remote.transport import Transport
from .journal import Journal
from .project import Project

TICK_S = 1.0
PACE_S = 0.005
"""Under load, events are taken together at this interval: each hand-over between threads costs Python's lock. An
event that comes alone is taken at once."""
CONNECTIONS_AT_ONCE = 8
"""sshd drops connections at random from 10 unauthenticated ones on (MaxStartups 10:30:100)."""


class Client(Protocol):
    """Whom the dispatcher works for: the executor."""

    def prepare(self, launch: ev.Launch) -> Message | ev.Unprepared:
        """The `start` message of an attempt. Runs on the launcher's thread; raises for what a user should see."""

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake. False: not yet (an output is not visible), ask again. Runs on the reporter's thread."""

    def reported(self) -> None:
        """A batch of reports is over. Runs on the reporter's thread."""

    def accept(self, node: str, facts: NodeFacts) -> str | None:
        """Why a node that answered cannot be used; None if it can."""

    def news(self, change: ev.NodeChanged) -> None:
        """A node's state changed."""

    def broken(self, error: BaseException) -> None:
        """The dispatcher itself failed: nothing will ever be reported again."""


@dataclass(frozen=True)
class _Note:
    """A job's description for the journal, in the same queue as the events so that order holds."""

    id: JobId
    jobid: str
    rule: str
    wildcards: Mapping[str, str]
    threads: int


@dataclass(frozen=True)
class _Post:
    """Messages for nodes that no decision of the pool stands behind (forget, read)."""

    node: str
    message: Message


_Item = tuple[ev.Event, ...] | _Note | _Post | None


class Dispatcher:
    """Runs a pool. `post`, `submit`, `forget` and the waits may be called from any thread."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        project: Project,
        client: Client,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._project = project
        self._client = client
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._launches: queue.SimpleQueue[list[ev.Launch] | None] = queue.SimpleQueue()
        self._reports: queue.SimpleQueue[list[Outcome] | None] = queue.SimpleQueue()
        self._starts: dict[tuple[JobId, int], Message] = {}
        self._changed = threading.Condition()
        self._failed: BaseException | None = None
        self._closed = False
        self._ending: set[tuple[JobId, int]] = set()
        self._taken = 0.0
        self._outputs: dict[tuple[Any, Any, Any], Message | None] = {}
        self.slots = 0
        self.logs: dict[JobId, str] = {}
        self.known: dict[str, tuple[ev.Known, ...]] = {}
        gate = threading.Semaphore(CONNECTIONS_AT_ONCE)
        self._links = {
            name: Link(node.spec, transport, welcome, self.post, self._hear, gate) for name, node in pool.nodes.items()
        }
        self._threads = [
            threading.Thread(target=self._guard, args=(target,), name=f"harbor-{target.__name__[1:]}", daemon=True)
            for target in (self._dispatch, self._launch, self._report)
        ]

    def start(self) -> None:
        """Begin to connect to the nodes."""
        for thread in self._threads:
            thread.start()

    # --- what others may call -----------------------------------------------------------------------------

    def post(self, *events: ev.Event) -> None:
        """Hand events to the pool, which takes them in before it decides anything: a job that is submitted and adopted
        must not be placed in between.
        """
        self._inbox.put(events)

    def describe(self, id: JobId, jobid: str, rule: str, wildcards: Mapping[str, str], threads: int) -> None:
        """Tell the journal about a job, before it is submitted."""
        self._inbox.put(_Note(id, jobid, rule, wildcards, threads))

    def forget(self, node: str, job: JobId, attempt: int) -> None:
        """Snakemake has a job's result on record: the node's copy of it is of no more use."""
        self._inbox.put(_Post(node, {"t": "forget", "job": job, "attempt": attempt}))

    def end(self, node: str, job: JobId, attempt: int) -> None:
        """Cancel an attempt that is not the pool's (an earlier run's); `await_end` waits for it."""
        self._ending.add((job, attempt))
        self._inbox.put(_Post(node, {"t": "cancel", "job": job, "attempt": attempt, "grace": 3.0}))

    def await_end(self, job: JobId, attempt: int, timeout: float) -> bool:
        """Whether the attempt has ended within `timeout` seconds."""
        return self.wait(lambda: (job, attempt) not in self._ending, timeout)

    def nodes_settled(self) -> bool:
        """Whether every node has answered, one way or the other."""
        return all(n.state not in (NodeState.OFFLINE, NodeState.CONNECTING) for n in self._pool.nodes.values())

    def reasons(self) -> dict[str, tuple[NodeState, str]]:
        """Each node's state and why."""
        return {name: (node.state, node.why) for name, node in self._pool.nodes.items()}

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Block until `condition` (checked after every batch of events) or the timeout; which of them it was."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not condition():
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._failed is not None:
                    return condition()
                self._changed.wait(min(remaining, 0.5))
        return True

    def idle(self) -> bool:
        """Whether no job holds a node."""
        return not any(job.state in HOLDING for job in list(self._pool.jobs.values()))

    def close(self, state: str) -> None:
        """End the threads and connections; jobs that still run live on."""
        if self._closed:
            return
        self._closed = True
        self._launches.put(None)
        self._reports.put(None)
        self._inbox.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10.0)
        closers = [threading.Thread(target=link.close, daemon=True) for link in self._links.values()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(10.0)
        self._journal.describe(state=state, ended=time.time())
        self._journal.close()

    # --- the dispatcher's thread ----------------------------------------------------------------------------

    def _guard(self, target: Callable[[], None]) -> None:
        """No thread of ours may die silently: Snakemake would wait for ever."""
        try:
            target()
        except BaseException as error:
            self._failed = error
            self._client.broken(error)

    def _dispatch(self) -> None:
        self._perform(self._pool.start())
        next_tick = 0.0
        while True:
            items = self._take(max(0.0, next_tick - time.monotonic()))
            events = [event for item in items if isinstance(item, tuple) for event in item]
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                events.append(ev.Tick(time.localtime().tm_hour))
                self._beat()
            now = time.time()
            for item in items:
                if isinstance(item, _Note):
                    self._journal.job(item.id, item.jobid, item.rule, item.wildcards, item.threads, now)
            events = [self._notice(event) for event in events]
            actions = self._pool.handle(events, now)
            self._perform(actions, [item for item in items if isinstance(item, _Post)])
            self.slots = self._pool.slots()
            for event in events:
                if isinstance(event, ev.Prepared):
                    del self._starts[(event.job, event.attempt)]
            with self._changed:
                self._changed.notify_all()
            if None in items:
                return

    def _take(self, timeout: float) -> list[_Item]:
        items: list[_Item] = []
        try:
            if timeout > 0:
                items.append(self._inbox.get(timeout=timeout))
                time.sleep(max(0.0, self._taken + PACE_S - time.monotonic()))
            self._taken = time.monotonic()
            while len(items) < 1000:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return items

    def _notice(self, event: ev.Event) -> ev.Event:
        """What the journal and adoption want to know of an event, beside the pool's decision."""
        match event:
            case ev.Progressed(_, job, _, done, total):
                if job in self._pool.jobs:
                    self._journal.progress(job, done, total)
            case ev.NodeUp(node, facts, known):
                unusable = self._client.accept(node, facts)
                if unusable is not None:
                    return ev.NodeDown(node, unusable, permanent=True)
                self.known[node] = known
            case ev.Adopted(job, attempt, node):
                # It may have ended between the look at the index and now.
                exit = next((k.exit for k in self.known[node] if (k.job, k.attempt) == (job, attempt)), None)
                return replace(event, exit=event.exit or exit)
            case ev.Exited(node, job, attempt):
                self._ending.discard((job, attempt))
                last = progress_of(event.message.get("progress"))
                if last is not None and job in self._pool.jobs:
                    self._journal.progress(job, last.done, last.total)
                if job not in self._pool.jobs:
                    self._remember_exit(event)
            case ev.Gone(_, job, attempt):
                self._ending.discard((job, attempt))
        return event

    def _remember_exit(self, event: ev.Exited) -> None:
        """A job of an earlier run ended before it was adopted: adoption is to find it as it is now."""
        records = self.known.get(event.node, ())
        if any((k.job, k.attempt) == (event.job, event.attempt) for k in records):
            self.known[event.node] = tuple(
                replace(k, running=False, exit=event.message) if (k.job, k.attempt) == (event.job, event.attempt) else k
                for k in records
            )

    def _beat(self) -> None:
        now = time.monotonic()
        self._project.beat()
        for name, link in self._links.items():
            link.check(now)
            self._record_node(name)
        self._record_waiting()

    def _record_node(self, name: str) -> None:
        node = self._pool.nodes[name]
        facts: dict[str, Any] | None = None
        if node.facts is not None:
            facts = {"cores": node.facts.cores, "mem_mb": node.facts.mem_mb, "gpus": node.facts.gpus}
            facts |= {"slots": node.slots, "host": node.facts.host, "python": node.facts.python}
        load: dict[str, Any] | None = None
        if node.load is not None:
            ours = sum(node.load.ours.values()) + node.load.ended
            load = {"busy": node.load.busy, "ours": ours, "load1": node.load.load1}
            load |= {"mem_available_mb": node.load.mem_available_mb, "disk_free_mb": node.load.disk_free_mb}
            load |= {"users": node.load.users, "running": len(node.held)}
        self._journal.node(name, node.state.value, node.why, facts, load, time.time())

    def _perform(self, actions: Iterable[ev.Action], posts: Iterable[_Post] = ()) -> None:
        outgoing: dict[str, list[Message]] = {}
        later: list[Callable[[], None]] = []
        launches: list[ev.Launch] = []
        outcomes: list[Outcome] = []
        now = time.time()
        for action in actions:
            match action:
                case ev.JobChanged(job, attempt, state, node, reason):
                    self._journal.changed(job, attempt, state.value, node, reason, now, self.logs.get(job))
                case ev.NodeChanged(name):
                    self._record_node(name)
                    later.append(lambda change=action: self._client.news(change))  # type: ignore[misc]
                case ev.Start(job, attempt, node):
                    outgoing.setdefault(node, []).append(self._starts[(job, attempt)])
                case ev.Send(node, message):
                    outgoing.setdefault(node, []).append(message)
                case ev.Connect(spec):
                    later.append(self._links[spec.name].connect)
                case ev.Launch():
                    launches.append(action)
                case ev.Fence(job, attempt, _):
                    self._fence(job, attempt)
                case ev.Settle(outcome):
                    self.logs.pop(outcome.job, None)
                    outcomes.append(outcome)
        for post in posts:
            outgoing.setdefault(post.node, []).append(post.message)
        self._journal.commit()
        for node, messages in outgoing.items():
            self._links[node].send(messages)
        if launches:
            self._launches.put(launches)
        if outcomes:
            self._reports.put(outcomes)
        for act in later:
            act()

    def _record_waiting(self) -> None:
        """Why the head of the queue waits, for `harbor explain`; the rest waits behind it."""
        for job in self._pool.queue()[:50]:
            if job.refusal is not None:
                lines = [f"{name} {why}" for name, why in sorted(job.refusal.reasons.items())]
                self._journal.waiting(job.spec.id, "; ".join(lines))

    def _fence(self, job: JobId, attempt: int) -> None:
        self._project.fences.mkdir(parents=True, exist_ok=True)
        (self._project.fences / f"{job.replace('/', '.')}.{attempt}").touch()

    def _hear(self, node: str, message: Message) -> None:
        """Messages that are no event of the pool: a piece of a job's output."""
        if message["t"] == "output":
            key = (message.get("job"), message.get("attempt"), message.get("offset"))
            with self._changed:
                if key in self._outputs:
                    self._outputs[key] = message
                    self._changed.notify_all()

    def read_output(self, job: JobId, offset: int, timeout: float = 10.0) -> bytes | None:
        """A piece of a running job's output from its node, from `offset` on; None if it does not run."""
        found = self._pool.jobs.get(job)
        if found is None or found.node is None or found.state not in ON_NODE:
            return None
        key = (job, found.attempt, offset)
        self._outputs[key] = None
        try:
            ask = {"t": "read", "job": job, "attempt": found.attempt, "offset": offset, "size": 1 << 18}
            self._inbox.put(_Post(found.node, ask))
            self.wait(lambda: self._outputs[key] is not None, timeout)
            message = self._outputs[key]
            return binascii.a2b_base64(str(message["data"])) if message else None
        finally:
            del self._outputs[key]

    # --- the launcher's thread ------------------------------------------------------------------------------

    def _launch(self) -> None:
        while (launches := self._launches.get()) is not None:
            for launch in launches:
                self._prepare(launch)

    def _prepare(self, launch: ev.Launch) -> None:
        try:
            answer = self._client.prepare(launch)
        except Exception as error:
            answer = ev.Unprepared(launch.job, launch.attempt, "unprepared", str(error))
        if isinstance(answer, ev.Unprepared):
            self.post(answer)
        else:
            self._starts[(launch.job, launch.attempt)] = answer
            self.post(ev.Prepared(launch.job, launch.attempt))

    # --- the reporter's thread ------------------------------------------------------------------------------

    def _report(self) -> None:
        waiting: list[Outcome] = []
        reported = 0.0
        while True:
            try:
                outcomes = self._reports.get(timeout=0.1 if waiting else None)
            except queue.Empty:
                outcomes = []
            if outcomes is None:
                return
            if outcomes:
                time.sleep(max(0.0, reported + PACE_S - time.monotonic()))
                reported = time.monotonic()
                while not self._reports.empty():
                    more = self._reports.get()
                    if more is None:
                        self._reports.put(None)
                        break
                    outcomes += more
            waiting = [outcome for outcome in waiting + outcomes if not self._client.report(outcome)]
            self._client.reported()
