"""The ways in which a run ends: all jobs are cancelled, no more jobs start, jobs are left running, or harbor failed."""

import threading
import traceback
from functools import partial
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from ..core import events as ev
from ..errors import HarborError
from ..jobs.adoption import Adoption
from ..jobs.in_flight import InFlight
from ..run.control import Control
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import dag, scheduler
from .run_files import RunFiles
from .sweep_tables import make_sweep_tables

CANCEL_GRACE_S = 3.0
"""The time between TERM and KILL after Ctrl-C."""
CANCEL_WAIT_S = 9.0
"""Ctrl-C leaves nothing running within 10 s."""


class Ending:
    """Any thread may call `halt`, `detach`, `is_stopping` and `internal_error`. Only the main thread calls the others.

    `cancelling` says whether `cancel` has begun. After that, nothing is reported to Snakemake.
    """

    def __init__(
        self,
        workflow: Any,
        logger: Any,
        in_flight: InFlight,
        dispatcher: Dispatcher,
        adoption: Adoption,
        files: RunFiles,
    ) -> None:
        self._workflow = workflow
        self._logger = logger
        self._in_flight = in_flight
        self._dispatcher = dispatcher
        self._adoption = adoption
        self._files = files
        self.cancelling = False
        self._cancelled = False
        self._halted = False
        self._detached = False
        self._abandoned = False
        self._closing = False

    def is_stopping(self) -> bool:
        """Return True if no more jobs are to start. If Snakemake has decided so, the pool learns it here."""
        if self.cancelling or self._closing or self._halted:
            return True
        if not scheduler.is_stopping(self._workflow):
            return False
        self.halt()
        return True

    def is_cancelling(self) -> bool:
        """Return True if jobs are being ended at the moment."""
        return self.cancelling and not self._cancelled

    def halt(self) -> None:
        """Start no more jobs. Those that run go on."""
        self._halted = True
        self._dispatcher.post(ev.Halt())
        self._dispatcher.withdraw_unprepared()

    def stop_gracefully(self) -> None:
        """Start no more jobs, and have Snakemake end when those that run have ended."""
        scheduler.stop_gracefully(self._workflow)
        self.halt()

    def cancel(self, control: Control | None) -> None:
        """End every job on every node, and then close."""
        self.cancelling = True
        try:
            self._dispatcher.post(ev.CancelAll(CANCEL_GRACE_S))
            self._dispatcher.withdraw_unprepared()
            if not self._dispatcher.wait(lambda now: now.idle, CANCEL_WAIT_S):
                self._dispatcher.post(ev.FenceAll())
            self.close("cancelled", control)
        finally:
            self._cancelled = True

    def detach(self) -> int:
        """Leave the jobs on the nodes to a later run, and have Snakemake end. Returns the number of these jobs.

        Snakemake ends because it is asked to stop and because it has no running jobs any more. Raises HarborError if
        the run still waits for its first node.
        """
        if not scheduler.is_built(self._workflow):
            raise HarborError(
                "the run still waits for its first node, and no job has been started.", "harbor stop   # ends it"
            )
        self._detached = True
        self.halt()
        entries = self._in_flight.all()
        self._logger.info(
            f"harbor: detaching. {len(entries)} jobs stay on the nodes or in their queue. Run the same command again "
            "to take over the jobs that are running or have ended by then."
        )
        dag.keep_output_directories(self._workflow)
        scheduler.stop_detached(self._workflow, self._logger)
        for entry in entries:
            if self._in_flight.remove(entry):
                scheduler.give_back(self._workflow, entry.job)
        scheduler.request_round(self._workflow)
        return len(entries)

    def internal_error(self, error: BaseException) -> None:
        """One of harbor's threads has failed. End the run with the traceback, because it would wait for ever."""
        self._abandoned = True
        dag.keep_output_directories(self._workflow)
        if isinstance(error, HarborError):
            failure: WorkflowError = error
        else:
            text = "".join(traceback.format_exception(error))
            failure = WorkflowError(
                f"harbor: internal error, please report it. The jobs on the nodes go on running.\n{text}"
            )
        if scheduler.is_built(self._workflow):
            stop = partial(scheduler.stop_with_error, self._workflow, failure)
            threading.Thread(target=stop, name="harbor-error", daemon=True).start()
        else:
            self._logger.error(str(failure))

    def close(self, state: str, control: Control | None) -> None:
        """End connections and threads, and give the lock back. Jobs that still run go on.

        `state` is the state of the run in the journal, unless the run was detached.
        """
        self._closing = True
        dag.keep_event_loops(self._workflow, self._dispatcher.preparing_threads())
        try:
            if state == "ended" and not self._detached:
                self._clean_up()
            if control is not None:
                control.close()
            self._dispatcher.close("detached" if self._detached else state)
            self._files.notes.close()
        finally:
            self._files.release()
        if state != "failed":
            all_ended = not self._detached and not self._abandoned
            make_sweep_tables(self._workflow, self._files.workdir.workdir, all_ended, self._logger.warning)

    def _clean_up(self) -> None:
        """Remove what no later run needs, on this machine and on the nodes."""
        complete = not scheduler.has_unfinished_jobs(self._workflow)
        self._files.remove_unneeded(complete)
        for found in self._adoption.leftovers():
            # After a failed run, a later run may want the records of earlier ones.
            if complete or found.record.job.startswith(f"{self._files.workdir.run}/"):
                self._dispatcher.forget(found.node, found.record.job, found.record.attempt)
