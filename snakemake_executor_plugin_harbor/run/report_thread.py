"""The thread that reports the ends of jobs to Snakemake, which takes Snakemake's lock and waits for outputs."""

import queue
import time

from ..core.model import Outcome
from .client import Reporter

PACE_S = 0.015
"""Under load, reports are made together at this interval, because each change of threads costs Python's lock."""
RETRY_S = 0.1
"""Interval at which a report is repeated whose outputs are not visible yet."""


class ReportThread:
    """Reports ends in batches. An end whose outputs are not visible yet delays no other."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._inbox: queue.SimpleQueue[list[Outcome] | None] = queue.SimpleQueue()

    def put(self, outcomes: list[Outcome]) -> None:
        """Add ends that have to be reported."""
        if outcomes:
            self._inbox.put(outcomes)

    def look_again(self) -> None:
        """Try at once to report the ends that could not be reported yet."""
        self._inbox.put([])

    def stop(self) -> None:
        """End the thread after its current batch."""
        self._inbox.put(None)

    def run(self) -> None:
        """Report until `stop` is called. This is the function of the thread."""
        unreported: list[Outcome] = []
        reported_at = 0.0
        while True:
            try:
                outcomes = self._inbox.get(timeout=RETRY_S if unreported else None)
            except queue.Empty:
                outcomes = []
            if outcomes is None:
                return
            if outcomes:
                time.sleep(max(0.0, reported_at + PACE_S - time.monotonic()))
                reported_at = time.monotonic()
                outcomes = outcomes + self._take_waiting()
            unreported = [outcome for outcome in unreported + outcomes if not self._reporter.report(outcome)]
            self._reporter.batch_reported()

    def _take_waiting(self) -> list[Outcome]:
        """Take the other ends that are in the queue."""
        found: list[Outcome] = []
        while not self._inbox.empty():
            outcomes = self._inbox.get()
            if outcomes is None:
                self._inbox.put(None)
                break
            found += outcomes
        return found
