"""The two threads that wait for others so that the dispatcher never does.

The launcher prepares jobs, which touches disks; the reporter tells Snakemake how they ended, which takes its lock and
waits for outputs to become visible.
"""

import queue
import time
from collections.abc import Callable
from typing import Protocol

from ..core import events as ev
from ..core.model import JobId, Outcome
from ..core.protocol import Message

PACE_S = 0.005
"""Under load, reports are made together at this interval: each hand-over between threads costs Python's lock."""
ASK_AGAIN_S = 0.1


class Preparer(Protocol):
    """Who makes start messages: the session."""

    def prepare(self, launch: ev.Launch) -> Message | ev.Unprepared:
        """The `start` message of an attempt; raises for what a user should see."""


class Listener(Protocol):
    """Who hears of ends: the session."""

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake. False: not yet (an output is not visible), ask again."""

    def reported(self) -> None:
        """A batch of reports is over."""


class Launcher:
    """Prepares attempts one after the other; `start` messages wait here until the pool has them sent."""

    def __init__(self, preparer: Preparer, post: Callable[[ev.Event], None]) -> None:
        self._preparer = preparer
        self._post = post
        self._inbox: queue.SimpleQueue[list[ev.Launch] | None] = queue.SimpleQueue()
        self._ready: dict[tuple[JobId, int], Message] = {}

    def put(self, launches: list[ev.Launch]) -> None:
        """Prepare these."""
        if launches:
            self._inbox.put(launches)

    def message(self, job: JobId, attempt: int) -> Message:
        """The `start` message of an attempt that is prepared."""
        return self._ready[(job, attempt)]

    def drop(self, job: JobId, attempt: int) -> None:
        """The pool has decided about a prepared attempt: its message is sent, or never will be."""
        self._ready.pop((job, attempt), None)

    def stop(self) -> None:
        """End the thread after what it is at."""
        self._inbox.put(None)

    def run(self) -> None:
        """The thread."""
        while (launches := self._inbox.get()) is not None:
            for launch in launches:
                self._prepare(launch)

    def _prepare(self, launch: ev.Launch) -> None:
        try:
            answer = self._preparer.prepare(launch)
        except Exception as error:
            answer = ev.Unprepared(launch.job, launch.attempt, "unprepared", str(error))
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
