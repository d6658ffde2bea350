"""Snakemake's executor: jobs in, ends out. Everything between is the session's.

It derives from RealExecutor, not RemoteExecutor: that one polls on a timer, from a thread that starts before the
subclass exists, and harbor is told of every end the moment it comes.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import ExecMode, SharedFSUsage
from snakemake_interface_executor_plugins.utils import format_cli_arg

if TYPE_CHECKING:
    pass

CANCEL_GRACE_S = 3.0
"""Between TERM and KILL after Ctrl-C."""
CANCEL_WAIT_S = 9.0
"""Ctrl-C leaves nothing running within 10 s."""


class Executor(RealExecutor):  # type: ignore[misc]
    """`snakemake --executor harbor`."""

    def __post_init__(self) -> None:
        from .session import Session

        self.cancelling = False
        self._sigterm_ready = False
        self.session: Session = Session(self)

    # --- what Snakemake calls -------------------------------------------------------------------------------

    def run_jobs(self, jobs: list[Any]) -> None:
        """Queue a batch. What is wrong with a job is reported for that job: an exception would end the workflow."""
        self._mend_sigterm()
        self.session.submit(jobs)

    def run_job(self, job: Any) -> None:
        """Queue one job."""
        self.run_jobs([job])

    def handle_job_success(self, job: Any) -> None:
        """Snakemake has the job's outputs on record: the node may forget it."""
        self.session.settled(job)

    def handle_job_error(self, job: Any) -> None:
        """Snakemake counted the job as failed: after its last retry nothing more starts."""
        self.session.settled(job)
        if not self.workflow.execution_settings.keep_going and job.restart_times <= job.attempt - 1:
            self.session.halt()

    def cancel(self) -> None:
        """Ctrl-C, or an exception in Snakemake: end every job on every node, then shut down."""
        self.cancelling = True
        self.session.cancel(CANCEL_GRACE_S, CANCEL_WAIT_S)

    def shutdown(self) -> None:
        """All jobs have ended."""
        self.session.close("ended")

    def room(self) -> int:
        """For the scheduler plugin: cores' worth of jobs that may still be handed over."""
        return self.session.room()

    # --- what the session calls -----------------------------------------------------------------------------

    def error(self, job: Any, message: str, log: str | None = None) -> None:
        """Report a failed job, with its log as an auxiliary one (`--show-failed-logs` prints it)."""
        if not self.cancelling:
            logs = [log] if log and Path(log).exists() else []
            self.report_job_error(SubmittedJobInfo(job), msg=message, aux_logs=logs)

    def success(self, job: Any) -> None:
        """Report a job whose outputs are there."""
        if not self.cancelling:
            self.report_job_success(SubmittedJobInfo(job))

    # --- Snakemake on the node, for what cannot be dispatched directly ------------------------------------------

    @property
    def cores(self) -> Any:
        """`--cores` for a spawned Snakemake: ours if it is limited, else all of the node's."""
        cores = self.workflow.resource_settings.cores
        return cores if cores is not None and cores != sys.maxsize else "all"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        shared = SharedFSUsage.SOFTWARE_DEPLOYMENT in self.workflow.storage_settings.shared_fs_usage
        return sys.executable if shared else "python3"

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        waited = format_cli_arg("--wait-for-files", list(job.get_wait_for_files()))
        return f"{super().get_job_args(job, **kwargs)} {waited}"

    # --- SIGTERM --------------------------------------------------------------------------------------------

    def _mend_sigterm(self) -> None:
        """Snakemake's own handler takes the scheduler's lock in the main thread, which may hold it: a deadlock
        in 2 of 3 tries. On a thread it cannot. Set here because the scheduler's constructor sets its own later.
        """
        if self._sigterm_ready or threading.current_thread() is not threading.main_thread():
            return
        self._sigterm_ready = True
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, *_: object) -> None:
        threading.Thread(target=self._stop_gracefully, name="harbor-sigterm", daemon=True).start()

    def _stop_gracefully(self) -> None:
        self.workflow.scheduler.exit_gracefully()
        self.session.halt()
