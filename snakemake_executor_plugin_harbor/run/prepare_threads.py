"""The threads that prepare attempts: they make the start messages.

Preparing touches disks and runs the user's functions. So neither the dispatcher nor Snakemake's own thread does it.

One thread, the leader, prepares one attempt after the other. Preparing is a hundred small file operations, and each of
them releases Python's lock. Two threads that do such work side by side spend most of their time on passing the lock
back and forth (2,000 trivial jobs: 16 of 24 slots waited to be prepared). For the same reason Snakemake's thread waits
in `drain` while the leader prepares what it has just handed over.

If an attempt takes longer than SLOW_S (a missing input, a large shadow directory, a slow function of the user), its
thread goes on with it alone, and another thread becomes the leader.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import JobId
from .client import Preparer

PACE_S = 0.015
"""Results are handed to the dispatcher at this interval, because each hand-over between threads costs Python's lock."""
BATCH = 16
"""At most this many results are handed over at once."""
YIELD_S = 0.25
"""The leader waits at most this long for Snakemake's thread, if that will hand over more jobs."""
DRAIN_S = 0.25
"""Snakemake's thread waits at most this long until the jobs that it has handed over are prepared."""
SLOW_S = 0.5
"""A preparation that takes longer than this goes on beside the others."""
CHECK_S = 0.25
"""Interval at which slow preparations are looked for."""
THREADS = 16
RULE_THREADS = 4
"""Slow jobs of one rule use at most this many threads, so that other rules' jobs always find one."""
REPORT_SLOW_S = 30.0
REPORT_AGAIN_S = 60.0
"""The user gets the first line about a slow preparation after the one, and further lines after the other."""


@dataclass(eq=False)
class _Worker:
    """A thread, its current task, and results that it has not handed over yet. `thread` is its identifier.

    `slow`: other tasks do not wait for the current one. `abandoned`: the result of the current task is not wanted.
    `since`, `reported_at` and `published_at` are times.
    """

    task: act.Prepare | None = None
    rule: str = ""
    since: float = 0.0
    slow: bool = False
    abandoned: bool = False
    reported_at: float = 0.0
    results: list[ev.Event] = field(default_factory=list)
    published_at: float = 0.0
    thread: int = 0


class PrepareThreads:
    """Prepares attempts. Their start messages stay here until the pool decides to send them."""

    def __init__(
        self,
        preparer: Preparer,
        post: Callable[..., None],
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        """`post` takes events for the pool; `guard` runs a thread's function and reports what it raises."""
        self._preparer = preparer
        self._post = post
        self._guard = guard
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._drained = threading.Condition(self._lock)
        self._queue: deque[tuple[act.Prepare, str]] = deque()
        self._workers: list[_Worker] = []
        self._idle_workers = 0
        self._leader: _Worker | None = None
        self._hurry = threading.Event()
        self._stopped = threading.Event()
        self._messages: dict[tuple[JobId, int], Message] = {}

    def put(self, tasks: list[act.Prepare]) -> None:
        """Add attempts that have to be prepared."""
        if tasks:
            with self._lock:
                self._queue.extend((task, self._preparer.rule_of(task.job)) for task in tasks)
                self._ensure_leader()

    def message(self, job: JobId, attempt: int) -> Message:
        """Return the start message of an attempt that is prepared."""
        return self._messages[(job, attempt)]

    def drop(self, job: JobId, attempt: int) -> None:
        """Delete a start message, because the pool has decided: the message is sent, or it never will be."""
        self._messages.pop((job, attempt), None)

    def abandon(self) -> None:
        """Withdraw all attempts that are not prepared yet, because nothing more is to start.

        A preparation that has begun goes on, but nobody waits for it, and its result is dropped.
        """
        with self._lock:
            withdrawn = [task for task, _ in self._queue]
            self._queue.clear()
            for worker in self._workers:
                self._publish(worker)
                if worker.task is not None and not worker.abandoned:
                    worker.abandoned = True
                    withdrawn.append(worker.task)
            if withdrawn:
                self._post(*(ev.PrepareFailed(task.job, task.attempt, "withdraw") for task in withdrawn))

    def stop(self) -> None:
        """Prepare nothing more. A preparation that has begun goes on in its daemon thread, but posts no result."""
        self._stopped.set()
        self._hurry.set()
        with self._lock:
            self._work.notify_all()
            self._drained.notify_all()

    def at_work(self) -> list[int]:
        """Return the identifiers of the threads that prepare something at this moment."""
        with self._lock:
            return [worker.thread for worker in self._workers if worker.task is not None]

    def drain(self) -> None:
        """Have everything prepared that is in the queue, and wait for it, but not for slow preparations.

        Only Snakemake's thread calls this.
        """
        with self._lock:
            if self._is_drained():
                return
            self._hurry.set()
            self._drained.wait_for(self._is_drained, DRAIN_S)

    def run(self) -> None:
        """Look for slow preparations until `stop` is called. This is the function of a thread."""
        while not self._stopped.wait(CHECK_S):
            self._check_slow(time.monotonic())

    # --- with the lock held ---------------------------------------------------------------------------------

    def _is_drained(self) -> bool:
        return self._stopped.is_set() or (self._leader is None and self._next_place() is None)

    def _next_place(self) -> int | None:
        """Return the place in the queue of the next attempt that may be prepared now."""
        if not self._queue:
            return None
        slow = [worker.rule for worker in self._workers if worker.slow]
        busy = {worker.task.job for worker in self._workers if worker.task is not None}
        for place, (task, rule) in enumerate(self._queue):
            if task.job not in busy and slow.count(rule) < RULE_THREADS:
                return place
        return None

    def _ensure_leader(self) -> None:
        """Wake or start a thread if there is work and no leader."""
        if self._leader is not None or self._stopped.is_set() or self._next_place() is None:
            return
        if self._idle_workers:
            self._work.notify()
        elif len(self._workers) < THREADS:
            worker = _Worker()
            self._workers.append(worker)
            threading.Thread(
                target=self._guard, args=(lambda: self._work_on_queue(worker),), name="harbor-prepare", daemon=True
            ).start()

    def _publish(self, worker: _Worker) -> None:
        """Hand the worker's results to the dispatcher."""
        if worker.results:
            self._post(*worker.results)
            worker.results = []
        worker.published_at = time.monotonic()

    def _resign(self, worker: _Worker) -> None:
        """The leader has nothing to do, so there is no leader until work comes."""
        self._leader = None
        self._hurry.clear()
        self._publish(worker)
        self._drained.notify_all()

    # --- the preparing threads --------------------------------------------------------------------------------

    def _work_on_queue(self, worker: _Worker) -> None:
        worker.thread = threading.get_ident()
        while (task := self._next_task(worker)) is not None:
            result = self._preparer.prepare(task)
            with self._lock:
                worker.task = None
                if self._stopped.is_set():
                    return
                if worker.abandoned:
                    worker.abandoned = False
                elif isinstance(result, ev.PrepareFailed):
                    worker.results.append(result)
                else:
                    self._messages[(task.job, task.attempt)] = result
                    worker.results.append(ev.Prepared(task.job, task.attempt, result.get("log")))
                late = time.monotonic() - worker.published_at >= PACE_S
                if worker.slow or late or len(worker.results) >= BATCH:
                    self._publish(worker)
                worker.slow = False

    def _next_task(self, worker: _Worker) -> act.Prepare | None:
        """Wait for the next task of this thread, which is the leader from then on. None: the threads are to end."""
        while not self._stopped.is_set():
            with self._lock:
                may_lead = self._leader in (None, worker)
                place = self._next_place() if may_lead else None
                if place is None:
                    if self._leader is worker:
                        self._resign(worker)
                    self._idle_workers += 1
                    self._work.wait()
                    self._idle_workers -= 1
                    continue
                self._leader = worker
                if self._hurry.is_set() or not self._preparer.more_jobs_expected():
                    worker.task, worker.rule = self._queue[place]
                    del self._queue[place]
                    worker.since = worker.reported_at = time.monotonic()
                    return worker.task
            # Snakemake's thread will hand over more jobs soon, and then wait in `drain`.
            self._hurry.wait(YIELD_S)
            self._hurry.set()
        return None

    # --- the thread that looks for slow preparations --------------------------------------------------------------

    def _check_slow(self, now: float) -> None:
        """Replace a leader that is slow, and report preparations that take very long."""
        with self._lock:
            leader = self._leader
            if leader is not None and leader.task is not None and now - leader.since >= SLOW_S:
                leader.slow = True
                self._leader = None
                self._publish(leader)
                if self._next_place() is None:
                    self._hurry.clear()
                self._drained.notify_all()
            self._ensure_leader()
            slow = [(worker, worker.task) for worker in self._workers if worker.task is not None and worker.slow]
        for worker, task in slow:
            interval = REPORT_SLOW_S if worker.reported_at == worker.since else REPORT_AGAIN_S
            if now - worker.reported_at >= interval:
                worker.reported_at = now
                # The report looks at files, and their filesystem may not answer.
                report = threading.Thread(
                    target=self._preparer.report_slow, args=(task, now - worker.since), daemon=True
                )
                report.start()
