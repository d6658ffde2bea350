"""The thread that owns the pool: takes events, asks the reactor, writes the journal, then acts.

Order is the point: what the journal records is committed before a message leaves, so it survives the end of this
process (`journal` says what survives a power cut). Whatever waits for somebody else is done by the workers' threads, so
that it delays neither decisions nor the heartbeat of the nodes.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ..core import actions as act
from ..core import events as ev
from ..core.capacity import Capacity
from ..core.codec import Message
from ..core.job import exit_event
from ..core.lifecycle import CONNECTED, HOLDING, ON_NODE
from ..core.model import JobId, JobState, NodeState, Outcome
from ..core.pool import Pool
from ..core.progress import progress_of
from ..core.protocol import record_of
from ..remote.connection import IsCurrent
from ..remote.link import Link
from ..remote.links import Links
from ..store.journal_writer import Journal
from ..store.workdir import Workdir
from .client import Client
from .clock import AwakeClock
from .node_records import NodeRecords
from .output_reader import OutputReader
from .prepare_threads import PrepareThreads
from .report_thread import ReportThread
from .wait_recorder import WaitRecorder

TICK_S = 1.0
PACE_S = 0.015
"""Under load, events are taken together at this interval: each hand-over between threads costs Python's lock. An
event that comes alone is taken at once."""
ROUND_S = 0.5
"""How long Snakemake's thread waits for the pool's decision; it takes about a millisecond."""
NODES_PER_BEAT = 250
"""Rows of nodes that are written each second. A thousand take 20 ms, in which nothing is decided."""
INBOX_MAX = 20_000
"""Events that may wait to be taken before nodes have to; each is below a kilobyte."""


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


@dataclass(frozen=True)
class _Heard:
    """An event of a connection. It counts only while that connection is still its node's (`current`)."""

    event: ev.Event
    current: IsCurrent


_Item = tuple[ev.Event, ...] | _Heard | _Note | _Post | threading.Event | None


def _events(item: _Item) -> tuple[ev.Event, ...]:
    """What an item holds for the pool."""
    if isinstance(item, _Heard):
        return (item.event,) if item.current() else ()
    return item if isinstance(item, tuple) else ()


class Dispatcher:
    """Runs a pool. `post`, `submit`, `forget` and the waits may be called from any thread."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        workdir: Workdir,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._workdir = workdir
        self._client: Client
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._clock = AwakeClock()
        self._launcher: PrepareThreads
        self._reporter: ReportThread
        self._output_reader = OutputReader()
        self._unhurried: deque[_Post] = deque()
        self._hurry = threading.Event()
        self._changed = threading.Condition()
        self._failed: BaseException | None = None
        self._closed = False
        self._taken = 0.0
        self.slots = 0
        self.capacity = Capacity()
        self._capacity_version = 0
        self._shown_next = 0
        self._waits = WaitRecorder(pool.waiting, journal)
        self.logs: dict[JobId, str] = {}
        self.node_records = NodeRecords()
        self._links: Links
        self._threads: list[threading.Thread] = []

    def start(self, client: Client) -> None:
        """Begin to connect to the nodes. The client's objects may need the dispatcher, so they come after it."""
        self._client = client
        self._launcher = PrepareThreads(client.start_messages, self.post, self._guard)
        self._reporter = ReportThread(client.end_reports)
        nodes = client.nodes
        self._links = Links(lambda spec: Link(spec, nodes.transport, nodes.welcome, self._from_node, self._on_message))
        self._threads += [
            threading.Thread(target=self._guard, args=(target,), name=f"harbor-{name}", daemon=True)
            for name, target in (
                ("dispatch", self._dispatch),
                ("launch", self._launcher.run),
                ("report", self._reporter.run),
            )
        ]
        for thread in self._threads:
            thread.start()

    # --- what others may call -----------------------------------------------------------------------------

    def post(self, *events: ev.Event) -> None:
        """Hand events to the pool, which takes them in before it decides anything: a job that is submitted and adopted
        must not be placed in between.
        """
        self._inbox.put(events)

    def _from_node(self, event: ev.Event, current: IsCurrent) -> None:
        """A link's event. A node that sends faster than we take waits, and with it its connection."""
        while self._inbox.qsize() > INBOX_MAX and not self._closed and self._failed is None:
            with self._changed:
                self._changed.wait(0.1)
        self._inbox.put(_Heard(event, current))

    def launch(self) -> None:
        """For Snakemake's thread: once the pool has decided about what it handed over, have what is placed prepared."""
        round = threading.Event()
        self._inbox.put(round)
        self._hurry.set()
        round.wait(ROUND_S)
        self._launcher.drain()

    def describe(self, id: JobId, jobid: str, rule: str, wildcards: Mapping[str, str], threads: int) -> None:
        """Tell the journal about a job, before it is submitted."""
        self._inbox.put(_Note(id, jobid, rule, wildcards, threads))

    def result_recorded(self, node: str, job: JobId, attempt: int) -> None:
        """Snakemake has a job's result on record, for good, even if its node cannot be told now."""
        view = self._pool.nodes.get(node)
        self._workdir.fences.note_result_recorded(job, attempt, away=view is None or view.state not in CONNECTED)
        self.forget(node, job, attempt)

    def forget(self, node: str, job: JobId, attempt: int) -> None:
        """The node's record of an attempt is of no more use. That is said with whatever is sent next, or at the next
        tick: each message wakes eight threads and processes, and Snakemake's thread settles jobs one after the other.
        """
        self._unhurried.append(_Post(node, {"t": "forget", "job": job, "attempt": attempt}))

    def has_node(self, node: str) -> bool:
        """Whether the pool has a node of that name."""
        return node in self._pool.nodes

    def all_nodes_answered(self) -> bool:
        """Whether every node has answered, one way or the other."""
        return all(n.state not in (NodeState.OFFLINE, NodeState.CONNECTING) for n in list(self._pool.nodes.values()))

    def nodes_usable(self) -> bool:
        """Whether every node is ready, or waits for the user."""
        final = (NodeState.READY, NodeState.REJECTED, NodeState.UNUSABLE)
        return all(node.state in final for node in list(self._pool.nodes.values()))

    @property
    def failed(self) -> bool:
        """Whether a thread has ended with an error: nothing will happen any more."""
        return self._failed is not None

    def reasons(self) -> dict[str, tuple[NodeState, str]]:
        """Each node's state and why."""
        return {name: (node.state, node.why) for name, node in list(self._pool.nodes.items())}

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

    def abandon(self) -> None:
        """Withdraw what is being prepared: nothing more is to start."""
        self._launcher.abandon()

    def preparing(self) -> list[int]:
        """The threads that prepare an attempt at this moment, by their identifiers."""
        return self._launcher.at_work()

    def close(self, state: str) -> None:
        """End the threads and connections; jobs that still run live on."""
        if self._closed:
            return
        self._closed = True
        self._launcher.stop()
        self._reporter.stop()
        self._inbox.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10.0)
        self._links.close()
        self._journal.set_facts(state=state, ended=time.time())
        self._journal.close()

    # --- the dispatcher's thread ----------------------------------------------------------------------------

    def _guard(self, target: Callable[[], None]) -> None:
        """No thread of ours may die silently: Snakemake would wait for ever."""
        try:
            target()
        except BaseException as error:
            self._failed = error
            self._client.internal_error(error)

    def _dispatch(self) -> None:
        self._perform(self._pool.connect_all())
        next_tick = 0.0
        while True:
            items = self._take(max(0.0, next_tick - time.monotonic()))
            events = [event for item in items for event in _events(item)]
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                events.append(ev.Tick(time.localtime().tm_hour))
                events += self._beat()
            for item in items:
                if isinstance(item, _Note):
                    self._journal.add_job(item.id, item.jobid, item.rule, item.wildcards, item.threads, time.time())
            events = [noticed for event in events for noticed in self._notice(event)]
            actions = self._pool.handle(events, self._clock.now())
            posts = [item for item in items if isinstance(item, _Post)]
            while self._unhurried:
                posts.append(self._unhurried.popleft())
            self._perform(actions, posts, [item for item in items if isinstance(item, threading.Event)])
            self._note_capacity()
            for event in events:
                if isinstance(event, ev.Prepared):
                    self._launcher.drop(event.job, event.attempt)
            with self._changed:
                self._changed.notify_all()
            if None in items:
                return

    def _note_capacity(self) -> None:
        """Keep what other threads see of the nodes, and have Snakemake come again when it could hand over more."""
        if self._capacity_version == self._pool.waiting.version:
            return
        self._capacity_version = self._pool.waiting.version
        before, self.capacity = self.capacity, Capacity(self._pool.nodes.values(), self._pool.policy)
        self.slots = self._pool.slots()
        if not self.capacity.equals(before):
            self._client.jobs.capacity_grown()

    def _take(self, timeout: float) -> list[_Item]:
        items: list[_Item] = []
        try:
            if timeout > 0:
                items.append(self._inbox.get(timeout=timeout))
                self._hurry.wait(max(0.0, self._taken + PACE_S - time.monotonic()))
                self._hurry.clear()
            self._taken = time.monotonic()
            while len(items) < 1000:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        return items

    def _notice(self, event: ev.Event) -> list[ev.Event]:
        """What the journal and adoption want to know of an event, beside the pool's decision; and what it becomes."""
        match event:
            case ev.Progressed(_, job, _, done, total):
                if job in self._pool.jobs:
                    self._journal.set_progress(job, done, total)
            case ev.NodeUp(node, facts, known):
                event = replace(event, unusable=self._client.nodes.why_unusable(node, facts) or "")
                self.node_records.node_listed(node, known)
                foreign = sum(1 for record in known if record.foreign and record.running)
                if foreign:
                    self._client.notices.warn(
                        f"node {node} still runs {foreign} jobs that were started in this directory before its "
                        ".snakemake was deleted or replaced; they are ended before anything starts"
                    )
                # First the notices: the node does not list attempts whose end an older agent has put there.
                return [*self._read_notices(), event, *(self._reunite() if known else ())]
            case ev.Submitted(jobs):
                # Their node may have answered, or left a notice, since Snakemake's thread looked.
                earlier_ids = [spec.id for spec in jobs if spec.earlier_ids]
                notices = self._read_notices() if earlier_ids else []
                return [*notices, event, *self._client.jobs.adopt_waiting(earlier_ids)]
            case ev.Adopted(job, attempt, node):
                # It may have ended between the look at the index and now.
                return [replace(event, exit=event.exit or self.node_records.exit_of(node, job, attempt))]
            case ev.Exited(node, job, attempt):
                last = progress_of(event.message.get("progress"))
                if last is not None and job in self._pool.jobs:
                    self._journal.set_progress(job, last.done, last.total)
                if job not in self._pool.jobs:
                    # One of an earlier run, perhaps: adoption is to find it as it is now.
                    self.node_records.attempt_ended(node, job, attempt, event.message)
        return [event]

    def _beat(self) -> list[ev.Event]:
        """Once a second: who is silent, what `harbor status` shows, and whether the host list is another one."""
        self._workdir.heartbeat()
        self._links.check_silence(self._clock.now())
        now = time.time()
        for name in self._some_nodes():
            self._beat_node(name, now)
        self._record_waiting()
        events = self._read_notices()
        events += [ev.FenceResult(job, attempt, written=True) for job, attempt in self._workdir.fences.write_missing()]
        listed = self._client.nodes.changed_host_list()
        return events if listed is None else [*events, ev.HostListChanged(listed)]

    def _reunite(self) -> list[ev.Adopted]:
        """Waiting jobs that nodes have from earlier runs, also those whose fence is waited for."""
        waiting = [id for id, job in self._pool.jobs.items() if job.state == JobState.QUEUED]
        return self._client.jobs.adopt_waiting(waiting)

    def _read_notices(self) -> list[ev.Event]:
        """What follows from the notices of ends that nodes have left since the last time."""
        events: list[ev.Event] = []
        added = False
        for message in self._workdir.fences.new_exit_notices():
            record = record_of(message) if isinstance(message, dict) and isinstance(message.get("t"), str) else None
            name = str(message["node"]) if record is not None and "node" in message else ""
            if record is None or record.exit is None or not name:
                continue
            job = self._pool.jobs.get(record.job)
            if job is not None and job.attempt == record.attempt and job.node == name:
                events.append(exit_event(name, record.job, record.attempt, record.exit))
            elif job is None and not self._is_listed(record):
                self.node_records.add_exit_notice(name, record)
                added = True
        return [*events, *(self._reunite() if added else ())]

    def _is_listed(self, record: ev.NodeRecord) -> bool:
        """Whether a connected node lists the attempt, and so says itself how it ended."""
        holders = [self._pool.nodes.get(node) for node in self.node_records.nodes_that_list(record.job, record.attempt)]
        return any(node is not None and node.state in CONNECTED for node in holders)

    def _some_nodes(self) -> list[str]:
        """The nodes whose rows are written in this beat: in a big pool some at a time."""
        names = list(self._pool.nodes)
        first = self._shown_next if self._shown_next < len(names) else 0
        self._shown_next = first + NODES_PER_BEAT
        return names[first : self._shown_next]

    def _beat_node(self, name: str, now: float) -> None:
        node = self._pool.nodes.get(name)
        if node is not None:
            self._journal.set_node(node, now)

    def _perform(
        self, actions: Iterable[act.Action], posts: Iterable[_Post] = (), rounds: Iterable[threading.Event] = ()
    ) -> None:
        outgoing: dict[str, list[Message]] = {}
        later: list[Callable[[], None]] = []
        launches: list[act.Prepare] = []
        outcomes: list[Outcome] = []
        now = time.time()
        for action in actions:
            match action:
                case act.JobChanged(job, attempt, state, node, reason):
                    if state == JobState.QUEUED:
                        self._waits.queued(job)
                    self._journal.add_change(job, attempt, state.value, node, reason, now, self.logs.get(job))
                case act.NodeChanged(name, node_state):
                    if node_state == NodeState.REMOVED:
                        self._journal.remove_node(name)
                    else:
                        self._beat_node(name, now)
                    if node_state == NodeState.REJECTED:
                        later.append(lambda name=name: self._links.reject(name))  # type: ignore[misc]
                    later.append(lambda change=action: self._client.notices.notify(change))  # type: ignore[misc]
                case act.JobStalled():
                    later.append(lambda change=action: self._client.notices.notify(change))  # type: ignore[misc]
                case act.SendStart(job, attempt, node):
                    outgoing.setdefault(node, []).append(self._launcher.message(job, attempt))
                case act.SendMessage(node, message):
                    outgoing.setdefault(node, []).append(message)
                case act.Connect(spec):
                    later.append(lambda spec=spec: self._links.connect(spec))  # type: ignore[misc]
                case act.Disconnect(name):
                    self.node_records.remove_node(name)
                    later.append(lambda name=name: self._links.disconnect(name))  # type: ignore[misc]
                case act.Reconnect(name):
                    later.append(lambda name=name: self._links.abort(name))  # type: ignore[misc]
                case act.Prepare():
                    launches.append(action)
                case act.Fence(job, fenced):
                    if not self._workdir.fences.fence(job, fenced):
                        self.post(ev.FenceResult(job, fenced, written=False))
                case act.JobRenamed(job, submitted_as):
                    self._journal.rename_job(job, submitted_as)
                case act.JobEnded(outcome):
                    self.logs.pop(outcome.job, None)
                    outcomes.append(outcome)
        for post in posts:
            outgoing.setdefault(post.node, []).append(post.message)
        self._launcher.put(launches)
        for round in rounds:
            round.set()
        self._journal.commit()
        self._links.send(outgoing)
        self._reporter.put(outcomes)
        for deferred in later:
            deferred()

    def _record_waiting(self) -> None:
        """Why jobs wait, for `harbor explain` and for Snakemake's log."""
        self._waits.record(self._pool.jobs, len(self._pool.nodes))
        stuck = self._waits.stuck(self._clock.now())
        if stuck is not None:
            self._client.notices.report_waiting(stuck, self._clock.now())

    def _on_message(self, node: str, message: Message) -> None:
        """Messages that are no event of the pool: a piece of a job's output."""
        if message["t"] == "output":
            self._output_reader.answer_arrived(message)

    def read_output(self, job: JobId, offset: int) -> bytes | None:
        """A piece of a running job's output from its node, from `offset` on; None if it does not run."""
        found = self._pool.jobs.get(job)
        if found is None or found.node is None or found.state not in ON_NODE:
            return None
        node, attempt = found.node, found.attempt
        return self._output_reader.read(job, attempt, offset, lambda ask: self._inbox.put(_Post(node, ask)))
