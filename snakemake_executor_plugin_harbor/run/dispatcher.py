"""The thread that owns the pool. It takes events, asks the pool, and has the pool's actions carried out.

What has to wait for something else is done by other threads, so that it delays neither decisions nor the heartbeat of
the nodes. Other threads never read the pool. They read the snapshot that is published after each round.
"""

import threading
import time
from collections.abc import Callable, Sequence

from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import JobId, Outcome
from ..core.pool import Pool
from ..remote.link import Link
from ..remote.links import Links
from ..store.journal_writer import Journal
from ..store.workdir import Workdir
from .client import Client
from .clock import AwakeClock
from .effects import Effects
from .inbox import Batch, CorrectedEnd, Inbox, JobDescription, OutputRequest
from .intake import Intake
from .node_records import NodeRecords
from .output_reader import OutputReader
from .prepare_threads import PrepareThreads
from .report_thread import ReportThread
from .snapshot import Snapshot, SnapshotMaker
from .upkeep import Upkeep
from .wait_recorder import WaitRecorder

TICK_S = 1.0
DECISION_S = 0.5
"""Snakemake's thread waits at most this long for the pool's decision, which takes about a millisecond."""
JOIN_S = 10.0
"""`close` waits at most this long for each thread."""


class Dispatcher:
    """Runs a pool. Any thread may call the public methods."""

    def __init__(self, pool: Pool, journal: Journal, workdir: Workdir) -> None:
        self._pool = pool
        self._journal = journal
        self._workdir = workdir
        self._inbox = Inbox()
        self._clock = AwakeClock()
        self._snapshots = SnapshotMaker(pool)
        self._output_reader = OutputReader()
        self._round_complete = threading.Condition()
        self._failed: BaseException | None = None
        self._closed = False
        self.node_records = NodeRecords()
        self._client: Client
        self._links: Links
        self._prepare_threads: PrepareThreads
        self._report_thread: ReportThread
        self._intake: Intake
        self._effects: Effects
        self._upkeep: Upkeep
        self._threads: list[threading.Thread] = []

    def start(self, client: Client) -> None:
        """Begin to connect to the nodes. The client's objects may need the dispatcher, so they come after it."""
        pool, journal, workdir, records = self._pool, self._journal, self._workdir, self.node_records
        nodes, fences = client.nodes, workdir.fences
        self._client = client
        self._prepare_threads = PrepareThreads(client.start_messages, self.post, self._guard)
        self._report_thread = ReportThread(client.end_reports)
        self._links = Links(
            lambda spec: Link(spec, nodes.transport, nodes.welcome, self._inbox.post_from_link, self._on_other_message)
        )
        waits = WaitRecorder(pool.waiting, journal)
        self._intake = Intake(pool, journal, records, fences, self._output_reader, client)
        self._effects = Effects(
            pool,
            self._inbox,
            journal,
            fences,
            self._links,
            self._prepare_threads,
            self._report_thread,
            waits,
            records,
            client.notices,
            self._intake.logs,
        )
        self._upkeep = Upkeep(pool, journal, workdir, self._links, waits, self._intake, client)
        self._threads += [
            threading.Thread(target=self._guard, args=(target,), name=f"harbor-{name}", daemon=True)
            for name, target in (
                ("dispatch", self._run),
                ("slow-preparations", self._prepare_threads.run),
                ("report", self._report_thread.run),
            )
        ]
        for thread in self._threads:
            thread.start()

    # --- jobs -------------------------------------------------------------------------------------------------

    def post(self, *events: ev.Event) -> None:
        """Hand events to the pool. It applies all of them before it places jobs."""
        self._inbox.post(*events)

    def describe_job(self, job: JobDescription) -> None:
        """Give the journal a job's description. The call has to come before the job is submitted."""
        self._inbox.describe(job)

    def correct_end(self, outcome: Outcome, log: str | None) -> None:
        """Have the journal record this end of a job. Its node has reported success, but the job has not succeeded."""
        self._inbox.correct_end(CorrectedEnd(outcome, log))

    def set_total(self, jobs: int) -> None:
        """Tell the journal how many jobs the run has."""
        self._inbox.set_total(jobs)

    def prepare_placed(self) -> None:
        """Wait until the pool has decided about what was posted, and until the jobs that it has placed are prepared.

        Only Snakemake's thread calls this. It does not wait for preparations that take long.
        """
        self._inbox.barrier().wait(DECISION_S)
        self._prepare_threads.drain()

    def result_recorded(self, node: str, job: JobId, attempt: int) -> None:
        """Note that Snakemake has recorded the result of an attempt. It is final, even if the node is not connected."""
        self._workdir.fences.note_result_recorded(job, attempt, away=not self.snapshot.is_connected(node))
        self.forget(node, job, attempt)

    def forget(self, node: str, job: JobId, attempt: int) -> None:
        """Have the node delete its record of an attempt. The message is sent together with other ones."""
        self._inbox.send_later(node, {"t": "forget", "job": job, "attempt": attempt})

    def read_output(self, job: JobId, offset: int) -> bytes | None:
        """Return a piece of a running job's output from the byte `offset` on, or None if the job does not run."""
        request = OutputRequest(job, offset)
        return self._output_reader.read(job, offset, lambda: self._inbox.request_output(request))

    def withdraw_unprepared(self) -> None:
        """Withdraw the attempts that are not prepared yet, because nothing more is to start."""
        self._prepare_threads.abandon()

    def preparing_threads(self) -> list[int]:
        """Return the identifiers of the threads that prepare an attempt at this moment."""
        return self._prepare_threads.at_work()

    # --- the state of the pool ----------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """Return the pool as it was after the last round."""
        return self._snapshots.latest

    @property
    def failed(self) -> bool:
        """Return whether a thread has ended with an error, so that nothing will happen any more."""
        return self._failed is not None

    def wait(self, condition: Callable[[Snapshot], bool], timeout: float) -> bool:
        """Wait until `condition` holds for the snapshot, at most `timeout` seconds. Returns whether it holds."""
        deadline = time.monotonic() + timeout
        with self._round_complete:
            while not condition(self.snapshot):
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._failed is not None:
                    return condition(self.snapshot)
                self._round_complete.wait(min(remaining, 0.5))
        return True

    def wait_for_round(self, timeout: float) -> None:
        """Wait until everything that was posted before has been handled, at most `timeout` seconds."""
        self._inbox.barrier().wait(timeout)

    def look_again_at_ends(self) -> None:
        """Try at once to report the ends that could not be reported yet."""
        self._report_thread.look_again()

    def close(self, state: str) -> None:
        """End the threads and connections. Jobs that still run live on."""
        if self._closed:
            return
        self._closed = True
        self._prepare_threads.stop()
        self._report_thread.stop()
        self._inbox.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(JOIN_S)
        self._links.close()
        self._journal.set_facts(state=state, ended=time.time())
        self._journal.close()

    # --- the dispatcher's thread ----------------------------------------------------------------------------

    def _guard(self, target: Callable[[], None]) -> None:
        """Run a thread's function and report what it raises. Otherwise Snakemake would wait for ever."""
        try:
            target()
        except BaseException as error:
            self._failed = error
            self._inbox.unblock_links()
            self._client.internal_error(error)

    def _run(self) -> None:
        self._complete_round([], self._pool.connect_all(), Batch())
        next_tick = 0.0
        while True:
            batch = self._inbox.take(max(0.0, next_tick - time.monotonic()))
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                batch.events.append(ev.Tick(time.localtime().tm_hour))
                batch.events += self._upkeep.run(self._clock.now())
            for job in batch.jobs:
                self._journal.add_job(job.id, job.jobid, job.rule, job.wildcards, job.threads, time.time(), job.others)
            if batch.total is not None:
                self._journal.set_facts(total=batch.total)
            batch.messages += self._intake.output_messages(batch.output_requests)
            events = [handled for event in batch.events for handled in self._intake.handle(event)]
            self._complete_round(events, self._pool.handle(events, self._clock.now()), batch)
            if batch.last:
                return

    def _complete_round(self, events: Sequence[ev.Event], actions: Sequence[act.Action], batch: Batch) -> None:
        """Publish what the pool has decided, carry it out, and wake those who wait for it."""
        capacity_grown = self._snapshots.update(events, actions)
        self._effects.perform(actions, batch)
        if capacity_grown:
            self._client.jobs.capacity_grown()
        for event in events:
            if isinstance(event, ev.Prepared):
                self._prepare_threads.drop(event.job, event.attempt)
        with self._round_complete:
            self._round_complete.notify_all()

    def _on_other_message(self, node: str, message: Message) -> None:
        """Take a message of a node that is not an event of the pool: a piece of a job's output. (A link's thread.)"""
        if message["t"] == "output":
            self._output_reader.answer_arrived(message)
