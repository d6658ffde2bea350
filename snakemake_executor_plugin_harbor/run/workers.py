"""The two threads that wait for others so that the dispatcher never does.

The launcher prepares jobs, which touches disks; the reporter tells Snakemake how they ended, which takes its lock and
waits for outputs to become visible.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ..core import events as ev
from ..core.model import JobId, Outcome
from ..core.protocol import Message

PACE_S = 0.015
"""Under load, reports are made together at this interval: each hand-over between threads costs Python's lock."""
ASK_AGAIN_S = 0.1
BATCH = 16
"""Attempts that are prepared together: one run of Snakemake's event loop for all. The first waits for the last."""
YIELD_S = 0.25
"""How long Snakemake's thread is waited for, when it is expected."""


class Preparer(Protocol):
    """Who makes start messages: the session."""

    def prepare(self, launches: list[ev.Launch]) -> list[Message | ev.Unprepared]:
        """The `start` message of each attempt, or why there is none."""

    def busy(self) -> bool:
        """Whether Snakemake's own thread is at work and will come by with `Launcher.drain`."""


class Listener(Protocol):
    """Who hears of ends: the session."""

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake. False: not yet (an output is not visible), ask again."""

    def reported(self) -> None:
        """A batch of reports is over."""


class Launcher:
    """Prepares attempts one after the other; `start` messages wait here until the pool has them sent.

    Snakemake's own thread does it whenever it hands over jobs, this one does what that leaves. Preparing is a hundred
    small file operations, each of which gives Python's lock away: two threads that do such work side by side spend
    most of their time on passing it to and fro (2,000 trivial jobs: 16 of 24 slots waited to be prepared).
    """

    def __init__(self, preparer: Preparer, post: Callable[[ev.Event], None]) -> None:
        self._preparer = preparer
        self._post = post
        self._inbox: queue.SimpleQueue[ev.Launch | None] = queue.SimpleQueue()
        self._turn = threading.Lock()
        self._drained = threading.Event()
        self._ready: dict[tuple[JobId, int], Message] = {}

    def put(self, launches: list[ev.Launch]) -> None:
        """Prepare these."""
        for launch in launches:
            self._inbox.put(launch)

    def message(self, job: JobId, attempt: int) -> Message:
        """The `start` message of an attempt that is prepared."""
        return self._ready[(job, attempt)]

    def drop(self, job: JobId, attempt: int) -> None:
        """The pool has decided about a prepared attempt: its message is sent, or never will be."""
        self._ready.pop((job, attempt), None)

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._inbox.put(None)
        self._drained.set()

    def drain(self) -> None:
        """Prepare what is there; for Snakemake's thread."""
        with self._turn:
            while batch := self._batch():
                self._prepare(batch)
        self._drained.set()

    def run(self) -> None:
        """The thread."""
        while (launch := self._inbox.get()) is not None:
            if self._preparer.busy():
                # Back in the queue: order among jobs that are placed already means nothing.
                self._drained.clear()
                self._inbox.put(launch)
                if not self._drained.wait(YIELD_S):
                    self.drain()
            else:
                with self._turn:
                    self._prepare([launch])

    def _batch(self) -> list[ev.Launch]:
        found: list[ev.Launch] = []
        while len(found) < BATCH:
            try:
                launch = self._inbox.get_nowait()
            except queue.Empty:
                break
            if launch is None:
                self._inbox.put(None)
                break
            found.append(launch)
        return found

    def _prepare(self, launches: list[ev.Launch]) -> None:
        for launch, answer in zip(launches, self._preparer.prepare(launches), strict=True):
            if isinstance(answer, ev.Unprepared):
                self._post(answer)
            else:
                self._ready[(launch.job, launch.attempt)] = answer
                self._post(ev.Prepared(launch.job, launch.attempt))


class Reporter:
    """Reports ends in batches; one whose outputs are not visible yet is asked about again."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._inbox: queue.SimpleQueue[list[Outcome] | None] = queue.SimpleQueue()

    def put(self, outcomes: list[Outcome]) -> None:
        """Report these."""
        if outcomes:
            self._inbox.put(outcomes)

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._inbox.put(None)

    def run(self) -> None:
        """The thread."""
        waiting: list[Outcome] = []
        reported = 0.0
        while True:
            try:
                outcomes = self._inbox.get(timeout=ASK_AGAIN_S if waiting else None)
            except queue.Empty:
                outcomes = []
            if outcomes is None:
                return
            if outcomes:
                time.sleep(max(0.0, reported + PACE_S - time.monotonic()))
                reported = time.monotonic()
                outcomes = outcomes + self._more()
            waiting = [outcome for outcome in waiting + outcomes if not self._listener.report(outcome)]
            self._listener.reported()

    def _more(self) -> list[Outcome]:
        found: list[Outcome] = []
        while not self._inbox.empty():
            more = self._inbox.get()
            if more is None:
                self._inbox.put(None)
                break
            found += more
        return found
