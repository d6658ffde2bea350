"""Reports the ends of jobs to Snakemake."""

import os
import threading
import time
from dataclasses import replace
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from ..core.model import JobState, Outcome
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import benchmark, output_cache, partial_groups, scheduler, settings, threads
from ..snakemake_internals import job as internals
from ..store.attempt_notes import AttemptNotes
from . import group_result
from .failure import failure_text
from .fetches import Failed, Fetches, Lost
from .in_flight import InFlight, InFlightJob

STORES = 4
"""At most this many jobs move their outputs to the between-workflow cache at the same time."""


class _NotYet(Exception):
    """The end of the job cannot be reported yet."""


class _GoesOn(Exception):
    """The attempt has run a part of a group, and the rest of it can be run now."""


class _Store(threading.Thread):
    """Moves the outputs of one job to the between-workflow cache. The cache may be a slow disk, and other reports must
    not wait for it.
    """

    def __init__(self, job: Any) -> None:
        super().__init__(name="harbor-store", daemon=True)
        self._job = job
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            output_cache.store(self._job)
        except BaseException as error:
            self.error = error


class LatencyWait:
    """The time for which outputs that are not visible yet have been awaited, per job."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[str, float] = {}

    def is_over(self, id: str) -> bool:
        """Return True if the time is over. It begins with the first call for a job."""
        since = self._since.setdefault(id, time.monotonic())
        if time.monotonic() - since < self.seconds:
            return False
        del self._since[id]
        return True

    def end(self, id: str) -> None:
        """End the wait, because the outputs are visible."""
        self._since.pop(id, None)


class EndReports:
    """Its methods run on the report thread. `report_error` and, for jobs that have started, `result_recorded` run on
    Snakemake's thread.
    """

    def __init__(
        self, executor: Any, in_flight: InFlight, dispatcher: Dispatcher, notes: AttemptNotes, fetches: Fetches
    ) -> None:
        self._fetches = fetches
        self._executor = executor
        self._workflow = executor.workflow
        self._in_flight = in_flight
        self._dispatcher = dispatcher
        self._notes = notes
        self._latency = LatencyWait(settings.latency_wait(self._workflow))
        self._reported: dict[str, Outcome] = {}
        self._stores: dict[str, _Store] = {}

    def report(self, outcome: Outcome) -> bool:
        """Report the end of a job. Return False if it has to be tried again, because outputs are not visible yet or
        are being moved to the between-workflow cache.
        """
        entry = self._in_flight.get(outcome.job)
        if entry is None:
            return True
        try:
            failure = self._finish(entry, outcome)
        except _NotYet:
            return False
        except _GoesOn:
            self._go_on(entry, outcome)
            return True
        except Lost as error:
            self._run_again(entry, outcome, str(error))
            return True
        except Failed as error:
            failure = f"harbor: {error}"
        except BaseException as error:  # Functions of the Snakefile may call sys.exit().
            failure = f"harbor: its result could not be processed: {_text(error)}"
        if self._close(entry, outcome, failure is not None):
            self._correct(entry, outcome, JobState.FAILED, failure)
            self._report(entry, outcome, failure)
        return True

    def batch_reported(self) -> None:
        """Have Snakemake run one scheduling round for the batch instead of one per job."""
        scheduler.merge_requests(self._workflow)

    def report_error(self, job: Any, error: BaseException) -> None:
        """Report a job that could not be queued as failed."""
        self._executor.error(job, _text(error))

    def result_recorded(self, job: Any) -> None:
        """Have the node delete the record of an ended job, because Snakemake has recorded the job's result."""
        ended = self._reported.pop(internals.number(job), None)
        if ended is not None:
            self._notes.result_recorded(ended.job)
        if ended is not None and ended.node is not None:
            self._dispatcher.result_recorded(ended.node, ended.job, ended.attempt)

    def _finish(self, entry: InFlightJob, outcome: Outcome) -> str | None:
        """Do what remains to be done for a job that has ended. Return why the job failed, or None if it succeeded.

        Raises _NotYet if the job has to be looked at again, and _GoesOn if other jobs of the group follow.
        """
        if entry.id in self._stores:
            self._finish_store(entry)
            return None
        if outcome.state == JobState.WITHDRAWN:
            return None
        if outcome.state != JobState.SUCCEEDED:
            problem = self._fetch_of_failed(entry, outcome)
            if not problem and internals.outputs_are_shared(self._workflow):
                self._keep_done(entry, group_result.done(entry, outcome))
            return failure_text(outcome, entry.log) + problem
        if not self._executor.cancelling and not self._fetches.is_done(entry, outcome):
            raise _NotYet
        if internals.part(entry.job):
            return self._end_part(entry)
        missing = internals.missing_outputs(entry.job)
        if missing and outcome.attempt in entry.staged:
            return (
                f"harbor: the command ended with exit code 0 on {outcome.node}, but it has not made: "
                f"{', '.join(missing)}"
            )
        if missing and not self._latency.is_over(entry.id):
            raise _NotYet
        self._latency.end(entry.id)
        if missing:
            return (
                f"harbor: the command ended with exit code 0 on {outcome.node}, but outputs are missing here after "
                f"{self._latency.seconds:g} s (--latency-wait): {', '.join(missing)}"
            )
        if outcome.exit is not None:
            self._complete(entry, outcome.exit)
        return None

    def _fetch_of_failed(self, entry: InFlightJob, outcome: Outcome) -> str:
        """Fetch the log of a failed job. It has failed for its own reason, even if its log does not come."""
        try:
            if not self._executor.cancelling and not self._fetches.is_done(entry, outcome):
                raise _NotYet
        except (Failed, Lost) as error:
            return f"\nharbor: {error}"
        return ""

    def _end_part(self, entry: InFlightJob) -> str:
        """Keep what a part of a group has made. Return why the rest is not run. Raises _NotYet and _GoesOn."""
        ending = "harbor: the run ends before the other jobs of the group are started"
        if self._executor.cancelling:
            return ending
        if scheduler.is_detached(self._workflow):
            raise _NotYet  # A later run goes on with it.
        missing = self._keep_done(entry, internals.unfinished(entry.job))
        if missing:
            return f"harbor: outputs of a part of the group are missing here: {', '.join(missing)}"
        if scheduler.is_stopping(self._workflow):
            return ending
        raise _GoesOn

    def _keep_done(self, entry: InFlightJob, done: list[Any]) -> list[str]:
        """Keep what these jobs of a group have made. Return the files that do not come. Raises _NotYet."""
        made = [*internals.kept_outputs(done), *(path for job in done for path in internals.benchmarks(job))]
        missing = [path for path in made if not os.path.lexists(path)]
        if missing and not self._latency.is_over(entry.id):
            raise _NotYet
        self._latency.end(entry.id)
        if done and not missing:
            benchmark.complete(self._workflow, done)
            partial_groups.mark_done(entry.job, done)
        return missing

    def _finish_store(self, entry: InFlightJob) -> None:
        """Raise the error with which the outputs could not be moved to the cache, or _NotYet while they are moved."""
        if self._stores[entry.id].is_alive():
            raise _NotYet
        error = self._stores.pop(entry.id).error
        if error is not None:
            raise error

    def _complete(self, entry: InFlightJob, exit: Any) -> None:
        """Write the job's benchmark file, and begin to move its outputs to the between-workflow cache.

        Raises _NotYet if its outputs are not in the cache yet.
        """
        job = entry.job
        cached = output_cache.needs_store(self._workflow, job)
        if cached and len(self._stores) >= STORES:
            raise _NotYet
        shared = internals.outputs_are_shared(self._workflow)
        if shared and job.is_group():
            benchmark.complete(self._workflow, internals.unfinished(job))
        elif shared and benchmark.is_wanted(job):
            benchmark.write(self._workflow, job, exit.get("steps") or [exit])
        if cached:
            self._stores[entry.id] = _Store(job)
            self._stores[entry.id].start()
            raise _NotYet

    def _run_again(self, entry: InFlightJob, outcome: Outcome, why: str) -> None:
        """Give the job back to Snakemake, which hands it over again."""
        if self._close(entry, outcome, failed=True):
            self._correct(entry, outcome, JobState.WITHDRAWN, why)
            self._reported.pop(entry.number, None)
            self._executor.logger.warning(f"harbor: job {entry.number} ({entry.name}) runs again: {why}")
            entry.undo_preparation(self._workflow)
            scheduler.give_back(self._workflow, entry.job)

    def _go_on(self, entry: InFlightJob, outcome: Outcome) -> None:
        """Give a group back to Snakemake, which hands it over again for its other jobs."""
        ended = replace(outcome, state=JobState.WITHDRAWN, reason="a part of the group is done, and the rest follows")
        if self._close(entry, ended, failed=False):
            self._dispatcher.correct_end(ended, entry.log)
            self._reported.pop(entry.number, None)
            self._in_flight.goes_on(entry)
            if outcome.node is not None:
                self._dispatcher.result_recorded(outcome.node, outcome.job, outcome.attempt)
            for job in internals.unfinished(entry.job):
                threads.forget_computed_values(job)  # They may be known now.
            scheduler.give_back(self._workflow, entry.job)

    def _correct(self, entry: InFlightJob, outcome: Outcome, state: JobState, why: str | None) -> None:
        """Tell the journal that a job has not succeeded although its command has."""
        if why is not None and outcome.state == JobState.SUCCEEDED:
            end = replace(outcome, state=state, reason=why.removeprefix("harbor: "))
            self._dispatcher.correct_end(end, entry.log)

    def _report(self, entry: InFlightJob, outcome: Outcome, failure: str | None) -> None:
        """Report a withdrawn, failed or successful job."""
        if outcome.state == JobState.WITHDRAWN:
            if not entry.preparing:
                entry.undo_preparation(self._workflow)
            if not self._executor.cancelling:
                scheduler.give_back(self._workflow, entry.job)
        elif failure is None:
            self._executor.success(entry.job)
        elif outcome.state == JobState.CANCELLED and not entry.prepared:
            self._executor.error(entry.job, failure, started=False)
        elif outcome.exit is None and outcome.node is None:
            self._executor.error(entry.job, failure)
        else:
            self._executor.error(entry.job, failure, entry.log)

    def _close(self, entry: InFlightJob, outcome: Outcome, failed: bool) -> bool:
        """Remove the job from those in flight. Return False if another thread has reported its end."""
        if not self._in_flight.remove(entry, outcome, failed):
            return False
        if settings.removes_scripts(self._workflow):
            entry.remove_temp_files()
        self._reported[entry.number] = outcome
        nothing_runs = outcome.exit is not None or outcome.node is None or outcome.state == JobState.WITHDRAWN
        if nothing_runs and (self._executor.cancelling or outcome.state == JobState.WITHDRAWN):
            self._notes.nothing_runs(outcome.job)
        if self._executor.cancelling and outcome.node is not None:
            self._dispatcher.forget(outcome.node, outcome.job, outcome.attempt)
        return True


def _text(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, WorkflowError) and text else f"{type(error).__name__}: {text}"
