"""How Snakemake hears of the ends of jobs."""

import threading
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from ..core.model import JobState, Outcome
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import scheduler
from ..store.attempt_notes import AttemptNotes
from . import outcome as out
from .in_flight import InFlight, InFlightJob

STORES = 4
"""So many jobs at most move their outputs to the between-workflow cache at the same time."""


class _Store(threading.Thread):
    """Moves the outputs of a job to the between-workflow cache, which may be a slow disk: other reports go on."""

    def __init__(self, job: Any) -> None:
        super().__init__(name="harbor-store", daemon=True)
        self._job = job
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            out.to_cache(self._job)
        except BaseException as error:
            self.error = error


class EndReports:
    """Used on the reporter's thread, but for `report_error` and `result_recorded`, which are for Snakemake's."""

    def __init__(self, executor: Any, entries: InFlight, dispatcher: Dispatcher, notes: AttemptNotes) -> None:
        self._executor = executor
        self._workflow = executor.workflow
        self._entries = entries
        self._dispatcher = dispatcher
        self._notes = notes
        self._latency = out.Latency(self._workflow.execution_settings.latency_wait)
        self._reported: dict[str, Outcome] = {}
        self._stores: dict[str, _Store] = {}

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake how a job ended, once its outputs are visible here: False until then."""
        entry = self._entries.get(outcome.job)
        if entry is None:
            return True
        job = entry.job
        failure: str | None = None
        try:
            if entry.id in self._stores:
                if self._stores[entry.id].is_alive():
                    return False
                if (trouble := self._stores.pop(entry.id).error) is not None:
                    raise trouble
            elif outcome.state == JobState.SUCCEEDED:
                missing = out.missing_outputs(job)
                if missing and not self._latency.over(entry.id):
                    return False
                self._latency.done(entry.id)
                cached = outcome.exit is not None and not missing and out.to_be_cached(self._workflow, job)
                if cached and len(self._stores) >= STORES:
                    return False
                failure = out.complete(self._workflow, job, outcome, missing, self._latency.seconds)
                if cached and failure is None:
                    self._stores[entry.id] = _Store(job)
                    self._stores[entry.id].start()
                    return False
            elif outcome.state != JobState.WITHDRAWN:
                failure = out.describe(outcome, entry.log)
        except BaseException as error:  # functions of the Snakefile may call sys.exit()
            failure = f"harbor: its result could not be taken: {_text(error)}"
        if not self._close(entry, outcome, failure is not None):
            return True
        if outcome.state == JobState.WITHDRAWN:
            if not entry.preparing:
                out.undo_unstarted(self._workflow, entry)
            if not self._executor.cancelling:
                scheduler.give_back(self._workflow, job)
        elif failure is not None:
            if outcome.exit is None and outcome.node is None:
                self._executor.error(job, failure)
            else:
                self._executor.error(job, failure, entry.log)
        else:
            self._executor.success(job)
        return True

    def batch_reported(self) -> None:
        """Have Snakemake run one scheduling round for the batch instead of one per job."""
        scheduler.merge_requests(self._workflow)

    def report_error(self, job: Any, error: BaseException) -> None:
        """A job that could not be handed over."""
        self._executor.error(job, _text(error))

    def result_recorded(self, job: Any) -> None:
        """Snakemake is done with a job's end: the node's record of it can go."""
        ended = self._reported.pop(str(job.jobid), None)
        if ended is not None:
            self._notes.result_recorded(ended.job)
        if ended is not None and ended.node is not None:
            self._dispatcher.result_recorded(ended.node, ended.job, ended.attempt)

    def _close(self, entry: InFlightJob, outcome: Outcome, failed: bool) -> bool:
        if not self._entries.remove(entry, outcome, failed):
            return False
        if self._workflow.execution_settings.cleanup_scripts:
            out.clean(entry.temp_files)
        self._reported[str(entry.job.jobid)] = outcome
        nothing_runs = outcome.exit is not None or outcome.node is None or outcome.state == JobState.WITHDRAWN
        if nothing_runs and (self._executor.cancelling or outcome.state == JobState.WITHDRAWN):
            self._notes.nothing_runs(outcome.job)
        if self._executor.cancelling and outcome.node is not None:
            self._dispatcher.forget(outcome.node, outcome.job, outcome.attempt)
        return True


def _text(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, WorkflowError) and text else f"{type(error).__name__}: {text}"
