"""The thread that reports the ends of jobs."""

import queue
import time

from ..core.model import Outcome
from .client import Reporter

PACE_S = 0.015
"""Under load, reports are made together at this interval: each hand-over between threads costs Python's lock."""
ASK_AGAIN_S = 0.1


class ReportThread:
    """Reports ends in batches; one whose outputs are not visible yet is asked about again."""

    def __init__(self, listener: Reporter) -> None:
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
        batch_reported = 0.0
        while True:
            try:
                outcomes = self._inbox.get(timeout=ASK_AGAIN_S if waiting else None)
            except queue.Empty:
                outcomes = []
            if outcomes is None:
                return
            if outcomes:
                time.sleep(max(0.0, batch_reported + PACE_S - time.monotonic()))
                batch_reported = time.monotonic()
                outcomes = outcomes + self._more()
            waiting = [outcome for outcome in waiting + outcomes if not self._listener.report(outcome)]
            self._listener.batch_reported()

    def _more(self) -> list[Outcome]:
        found: list[Outcome] = []
        while not self._inbox.empty():
            more = self._inbox.get()
            if more is None:
                self._inbox.put(None)
                break
            found += more
        return found
