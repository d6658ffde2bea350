"""Jobs that the user cancels while the run goes on (`harbor cancel`)."""

import threading
from collections.abc import Iterable
from typing import Any

from ..core import events as ev
from ..core.job_names import NamedJob
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import job as internals
from ..snakemake_internals import scheduler
from .in_flight import InFlight

ROUND_S = 5.0
"""`cancel` waits at most this long until the pool has handled its events."""


class Cancellation:
    """Any thread may call the methods.

    Snakemake hands over few jobs at a time. So a job may be cancelled before that, and then ends when it is handed
    over.
    """

    def __init__(self, workflow: Any, in_flight: InFlight, dispatcher: Dispatcher) -> None:
        self._workflow = workflow
        self._in_flight = in_flight
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._numbers: set[str] = set()

    def jobs(self) -> list[NamedJob]:
        """Return the jobs that have not ended: those that were handed over, and those that come later."""
        handed_over = {entry.number: entry.job for entry in self._in_flight.all()}
        unfinished = sorted(scheduler.unfinished_jobs(self._workflow), key=lambda job: int(internals.number(job)))
        later = {internals.number(job): job for job in unfinished}
        return [
            NamedJob(
                number,
                internals.name(job),
                internals.wildcards(job),
                "handed over" if number in handed_over else "not handed over",
                others=tuple(internals.numbers(job)[1:]),
            )
            for number, job in {**handed_over, **later}.items()
        ]

    def cancel(self, numbers: Iterable[str]) -> None:
        """End the jobs with these numbers. They are not retried."""
        numbers = set(numbers)
        with self._lock:
            self._numbers |= numbers
            self._post(numbers)
        # A job that was adopted meanwhile has another id.
        self._dispatcher.wait_for_round(ROUND_S)
        self._post(numbers)

    def has(self, job: Any) -> bool:
        """Return whether the user has cancelled the job."""
        return internals.number(job) in self._numbers

    def submit(self, job: Any, id: str, *events: ev.Event) -> None:
        """Post the events with which a job enters the pool. If the user has cancelled it, it never starts."""
        with self._lock:
            self._dispatcher.post(*events, *([ev.CancelJob(id)] if self.has(job) else ()))

    def _post(self, numbers: set[str]) -> None:
        entries = [entry for entry in self._in_flight.all() if entry.number in numbers]
        self._dispatcher.post(*(ev.CancelJob(entry.id) for entry in entries))
