"""Fetches what attempts have made on nodes that do not have the working directory, after they have ended.

The record of an attempt stays on its node until Snakemake has recorded the job's end. So if the controller is killed,
the next one adopts the job and fetches again.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..core.model import JobState, Outcome
from ..snakemake_internals import job as internals
from ..staging.model import MoveFailed
from . import group_result
from .in_flight import InFlightJob
from .staging import StagedAttempt, Staging

AT_ONCE = 32
"""At most this many fetches happen at the same time. (A node has a limit of its own: staging/mover.py.)"""
CHANGED_MAX = 3
"""A file that has changed while it was fetched is fetched again, but no more often than this."""
PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""The pauses before the next try, when the connection broke."""


class Lost(Exception):
    """The node could not be reached for so long that the job has to run again."""


class Failed(Exception):
    """What the job has made cannot be fetched."""


@dataclass
class _Fetch:
    """One attempt's fetch, with its tries. `ready` is called from its thread when it has ended."""

    run: Callable[[], Any]
    ready: Callable[[], None]
    thread: threading.Thread | None = None
    error: BaseException | None = None
    tries: int = 0
    began: float = field(default_factory=time.monotonic)
    next_try: float = 0.0

    def start(self) -> None:
        self.error, self.tries = None, self.tries + 1
        self.thread = threading.Thread(target=self._run, name="harbor-fetch", daemon=True)
        self.thread.start()

    @property
    def runs(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def _run(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self.error = error
        self.ready()


class Fetches:
    """Its methods run on the report thread."""

    def __init__(self, staging: Staging, keep_incomplete: bool, give_up_s: float, ready: Callable[[], None]) -> None:
        """`keep_incomplete`: the outputs of failed jobs are fetched, too. A node that cannot be reached for `give_up_s`
        is given up. `ready` is called from any thread when a fetch has ended.
        """
        self._staging = staging
        self._keep_incomplete = keep_incomplete
        self._give_up_s = give_up_s
        self._ready = ready
        self._fetches: dict[str, _Fetch] = {}

    def is_done(self, entry: InFlightJob, outcome: Outcome) -> bool:
        """Return whether everything that has to come from the attempt's node is here. Raises Lost or Failed."""
        staged = entry.staged.get(outcome.attempt)
        if entry.fetched == outcome.attempt:
            return True  # Something else delays the report.
        if staged is None or outcome.exit is None or outcome.state == JobState.WITHDRAWN:
            return True
        key = f"{outcome.job}.{outcome.attempt}"
        fetch = self._fetches.get(key)
        if fetch is None:
            if sum(other.runs for other in self._fetches.values()) < AT_ONCE:
                fetch = self._fetches[key] = _Fetch(self._task(entry, outcome, staged), self._ready)
                fetch.start()
            return False
        if fetch.runs:
            return False
        if fetch.error is None:
            del self._fetches[key]
            entry.fetched = outcome.attempt
            return True
        return self._failed(key, fetch, fetch.error, staged)

    def _task(self, entry: InFlightJob, outcome: Outcome, staged: StagedAttempt) -> Callable[[], Any]:
        whole = outcome.state == JobState.SUCCEEDED or self._keep_incomplete
        jobs = internals.unfinished(entry.job) if whole else group_result.done(entry, outcome)
        outputs = internals.kept_outputs(jobs)
        if staged.by_snakemake or entry.job.is_group():
            outputs += [path for job in jobs for path in internals.benchmarks(job)]
        return lambda: self._staging.fetch(entry.job, staged, entry.log, outputs)

    def _failed(self, key: str, fetch: _Fetch, error: BaseException, staged: StagedAttempt) -> bool:
        """Try again later, or raise an error."""
        kind = error.kind if isinstance(error, MoveFailed) else ""
        again = kind == "link" or (kind == "changed" and fetch.tries < CHANGED_MAX)
        now = time.monotonic()
        if again and now - fetch.began < self._give_up_s:
            if not fetch.next_try:
                fetch.next_try = now + PAUSES_S[min(fetch.tries, len(PAUSES_S)) - 1]
            elif now >= fetch.next_try:
                fetch.next_try = 0.0
                fetch.start()
            return False
        del self._fetches[key]
        if kind == "link":
            raise Lost(f"its outputs could not be fetched from {staged.node.name} for {self._give_up_s:.0f} s: {error}")
        raise Failed(f"what it has made could not be fetched from {staged.node.name}: {error}") from error
