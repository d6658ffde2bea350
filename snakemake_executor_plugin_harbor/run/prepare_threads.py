"""The threads that wait for others so that neither the dispatcher nor Snakemake's own thread does.

The launcher prepares jobs, which touches disks and runs the user's functions; the reporter reports their ends to
Snakemake, which takes its lock and waits for outputs to become visible.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core import actions as act
from ..core import events as ev
from ..core.model import JobId
from ..core.protocol import Message
from .client import Preparer

PACE_S = 0.015
"""Under load, reports are made together at this interval: each hand-over between threads costs Python's lock."""
BATCH = 16
"""So many answers at most are handed to the dispatcher at once."""
YIELD_S = 0.25
"""How long Snakemake's thread is waited for, when it is expected."""
DRAIN_S = 0.25
"""How long Snakemake's thread waits for the jobs that it has handed over to be prepared."""
SLOW_S = 0.5
"""A preparation that takes longer goes on beside the others: another thread takes over the queue."""
LOOK_S = 0.25
THREADS = 16
RULE_THREADS = 4
"""Slow jobs of one rule use at most so many of the threads, so that other rules' jobs always find one."""
TELL_S = 30.0
TELL_AGAIN_S = 60.0
"""When the user hears of a slow preparation."""


@dataclass(eq=False)
class _Worker:
    """A thread that prepares: what it is at, since when, and answers that it has not handed over yet."""

    launch: act.Prepare | None = None
    rule: str = ""
    since: float = 0.0
    slow: bool = False
    abandoned: bool = False
    told: float = 0.0
    answers: list[ev.Event] = field(default_factory=list)
    published: float = 0.0
    thread: int = 0


class PrepareThreads:
    """Prepares attempts; `start` messages wait here until the pool has them sent.

    One thread, the leader, prepares one attempt after the other. Preparing is a hundred small file operations, each of
    which gives Python's lock away: two threads that do such work side by side spend most of their time on passing it
    to and fro (2,000 trivial jobs: 16 of 24 slots waited to be prepared). For the same reason Snakemake's thread waits
    in `drain` while the leader prepares what it has just handed over.

    If an attempt takes longer than SLOW_S (a missing input, a large shadow directory, a slow function of the user),
    its thread goes on with it alone, and another one becomes the leader.
    """

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
        self._parked = 0
        self._leader: _Worker | None = None
        self._hurry = threading.Event()
        self._stopped = threading.Event()
        self._ready: dict[tuple[JobId, int], Message] = {}

    def put(self, launches: list[act.Prepare]) -> None:
        """Prepare these."""
        if launches:
            with self._lock:
                self._queue.extend((launch, self._preparer.rule_of(launch.job)) for launch in launches)
                self._call()

    def message(self, job: JobId, attempt: int) -> Message:
        """The `start` message of an attempt that is prepared."""
        return self._ready[(job, attempt)]

    def drop(self, job: JobId, attempt: int) -> None:
        """The pool has decided about a prepared attempt: its message is sent, or never will be."""
        self._ready.pop((job, attempt), None)

    def abandon(self) -> None:
        """Nothing more is to start: everything that is not prepared yet is withdrawn now. What is in preparation goes
        on for a while, but nobody waits for it, and its answer is dropped.
        """
        with self._lock:
            withdrawn = [launch for launch, _ in self._queue]
            self._queue.clear()
            for worker in self._workers:
                self._publish(worker)
                if worker.launch is not None and not worker.abandoned:
                    worker.abandoned = True
                    withdrawn.append(worker.launch)
            if withdrawn:
                self._post(*(ev.PrepareFailed(launch.job, launch.attempt, "withdraw") for launch in withdrawn))

    def stop(self) -> None:
        """Prepare nothing more. What is in preparation now is left to its daemon thread, which posts no answer."""
        self._stopped.set()
        self._hurry.set()
        with self._lock:
            self._work.notify_all()
            self._drained.notify_all()

    def at_work(self) -> list[int]:
        """The threads that prepare something at this moment, by their identifiers."""
        with self._lock:
            return [worker.thread for worker in self._workers if worker.launch is not None]

    def drain(self) -> None:
        """For Snakemake's thread: have what is there prepared now, and wait for it, unless that takes long."""
        with self._lock:
            if self._idle():
                return
            self._hurry.set()
            self._drained.wait_for(self._idle, DRAIN_S)

    def run(self) -> None:
        """The thread that watches the others."""
        while not self._stopped.wait(LOOK_S):
            self._look(time.monotonic())

    # --- with the lock held ---------------------------------------------------------------------------------

    def _idle(self) -> bool:
        return self._stopped.is_set() or (self._leader is None and self._next() is None)

    def _next(self) -> int | None:
        """The place in the queue of the next attempt that may be prepared."""
        if not self._queue:
            return None
        slow = [worker.rule for worker in self._workers if worker.slow]
        busy = {worker.launch.job for worker in self._workers if worker.launch is not None}
        for place, (launch, rule) in enumerate(self._queue):
            if launch.job not in busy and slow.count(rule) < RULE_THREADS:
                return place
        return None

    def _call(self) -> None:
        """See that somebody leads, if there is work."""
        if self._leader is not None or self._stopped.is_set() or self._next() is None:
            return
        if self._parked:
            self._work.notify()
        elif len(self._workers) < THREADS:
            worker = _Worker()
            self._workers.append(worker)
            threading.Thread(
                target=self._guard, args=(lambda: self._prepare(worker),), name="harbor-prepare", daemon=True
            ).start()

    def _publish(self, worker: _Worker) -> None:
        if worker.answers:
            self._post(*worker.answers)
            worker.answers = []
        worker.published = time.monotonic()

    # --- the preparing threads --------------------------------------------------------------------------------

    def _prepare(self, worker: _Worker) -> None:
        worker.thread = threading.get_ident()
        while (launch := self._take(worker)) is not None:
            answer = self._preparer.prepare(launch)
            with self._lock:
                worker.launch = None
                if self._stopped.is_set():
                    return
                if worker.abandoned:
                    worker.abandoned = False
                elif isinstance(answer, ev.PrepareFailed):
                    worker.answers.append(answer)
                else:
                    self._ready[(launch.job, launch.attempt)] = answer
                    worker.answers.append(ev.Prepared(launch.job, launch.attempt))
                late = time.monotonic() - worker.published >= PACE_S
                if worker.slow or late or len(worker.answers) >= BATCH:
                    self._publish(worker)
                worker.slow = False

    def _take(self, worker: _Worker) -> act.Prepare | None:
        """The next attempt for this thread, which leads from then on. Blocks; None at the end."""
        while not self._stopped.is_set():
            with self._lock:
                leads = self._leader in (None, worker)
                place = self._next() if leads else None
                if place is None:
                    if self._leader is worker:
                        self._leader = None
                        self._hurry.clear()
                        self._publish(worker)
                        self._drained.notify_all()
                    self._parked += 1
                    self._work.wait()
                    self._parked -= 1
                    continue
                self._leader = worker
                if self._hurry.is_set() or not self._preparer.more_jobs_expected():
                    worker.launch, worker.rule = self._queue[place]
                    del self._queue[place]
                    worker.since = worker.told = time.monotonic()
                    return worker.launch
            # Snakemake is about to hand over more, and to wait then.
            self._hurry.wait(YIELD_S)
            self._hurry.set()
        return None

    # --- the watching thread ------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        with self._lock:
            leader = self._leader
            if leader is not None and leader.launch is not None and now - leader.since >= SLOW_S:
                leader.slow = True
                self._leader = None
                self._publish(leader)
                if self._next() is None:
                    self._hurry.clear()
                self._drained.notify_all()
            self._call()
            slow = [(worker, worker.launch) for worker in self._workers if worker.launch is not None and worker.slow]
        for worker, launch in slow:
            if now - worker.told >= (TELL_S if worker.told == worker.since else TELL_AGAIN_S):
                worker.told = now
                # What it is at may be a file that does not answer.
                threading.Thread(
                    target=self._preparer.report_slow, args=(launch, now - worker.since), daemon=True
                ).start()
