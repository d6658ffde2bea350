"""Snakemake's executor, as the plugin interface wants it. The session does the work.

It derives from RealExecutor and not from RemoteExecutor. RemoteExecutor polls at intervals, on a thread that starts
before the subclass is complete, but nodes report each end to harbor at once.
"""

import gc
import sys
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import ExecMode

from .core.capacity import HandOverLimits
from .core.model import Request
from .jobs import snakemake_command as spawned
from .snakemake_internals import dag, scheduler
from .snakemake_internals import job as internals


class Executor(RealExecutor):  # type: ignore[misc]
    """`snakemake --executor harbor`."""

    def __post_init__(self) -> None:
        from .config.password import pop_password
        from .config.pool_config import pool_config
        from .config.precedence import use_typed_hosts
        from .session.imported_hosts import use_imported_hosts
        from .session.session import Session

        use_typed_hosts(self.executor_settings, self.logger.info)
        use_imported_hosts(self.workflow, self.executor_settings, self.logger.info)
        self._started = False
        self.session: Session
        if not dag.is_empty(self.workflow):
            self.session = Session(self)
        else:
            # Snakemake prints "Nothing to be done", and does not shut down an executor that had nothing to do.
            pool_config(self.executor_settings)
            pop_password(self.executor_settings)

    # --- what Snakemake calls -------------------------------------------------------------------------------

    def run_jobs(self, jobs: list[Any]) -> None:
        """Queue jobs. An error in one of them is reported for that job, because an exception would end the workflow."""
        if not self._started:
            self._started = True
            self.session.install_signal_handlers()
            _tune_process()
            scheduler.remove_unreachable_rate_limit(self.workflow)
        self.session.submit(jobs)

    def run_job(self, job: Any) -> None:
        """Queue one job."""
        self.run_jobs([job])

    def handle_job_success(self, job: Any) -> None:
        """Snakemake has recorded the job's outputs."""
        self.session.result_recorded(job)

    def handle_job_error(self, job: Any) -> None:
        """Snakemake has counted the job as failed. After its last try no more jobs start, unless with --keep-going."""
        self.session.result_recorded(job)
        if self.session.is_cancelled(job):
            scheduler.retry_no_more(job)
        if scheduler.is_last_try(job) and not scheduler.keeps_going(self.workflow):
            self.session.halt()

    def cancel(self) -> None:
        """End every job on every node after Ctrl-C or an exception in Snakemake, and then shut down."""
        self.session.cancel()

    def shutdown(self) -> None:
        """All jobs have ended."""
        self.session.close("ended")

    def hand_over_limits(self) -> HandOverLimits:
        """For the scheduler plugin: for each class of jobs, how many more may be handed over."""
        return self.session.hand_over_limits()

    def request(self, job: Any) -> Request:
        """For the scheduler plugin: what a job asks of a node."""
        return self.session.request(job)

    # --- what the session calls -----------------------------------------------------------------------------

    @property
    def cancelling(self) -> bool:
        """Return True if all jobs are being ended. Snakemake gets no more reports then."""
        return self.session.cancelling

    def submitted(self, job: Any, id: str) -> None:
        """Have Snakemake write the id under which a job is started into the job's incomplete marker."""
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=f"harbor:{id}"))

    def error(self, job: Any, message: str, log: str | None = None, started: bool = True) -> None:
        """Report a failed job. `--show-failed-logs` prints its log. If it has not started, its old outputs stay."""
        if not self.cancelling:
            logs = [log] if log and Path(log).exists() else []
            if job.is_group():  # Snakemake prints the jobs of the group, but not the message.
                self.logger.error(f"group {internals.name(job)}: {message}")
            try:
                self.print_job_error(SubmittedJobInfo(job), msg=message, aux_logs=logs)
            except (Exception, SystemExit) as unprintable:
                # Snakemake's message contains the shell command, and formatting that may be what failed the job.
                self.logger.error(f"Error in rule {internals.name(job)}: {message}\n{unprintable}")
            if started:
                scheduler.fail_silently(self.workflow, job)
            else:
                scheduler.fail_unstarted(self.workflow, job)

    def success(self, job: Any) -> None:
        """Report a job whose outputs exist."""
        if not self.cancelling:
            self.report_job_success(SubmittedJobInfo(job))

    # --- Snakemake on the node, for jobs that cannot be dispatched directly -----------------------------------

    @property
    def cores(self) -> Any:
        """Snakemake's interface asks for it. `get_job_args` puts in each job's own number."""
        return "all"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        return spawned.python_executable(self.workflow)

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        arguments = super().get_job_args(job, **{"cores": spawned.cores(self.workflow, job), **kwargs})
        defaults = spawned.default_resources(self.workflow, job)
        wait = self.session.sources.wait_option(spawned.files_to_wait_for(self.workflow, job))
        return f"{arguments} {defaults} {wait}"

    def additional_general_args(self) -> str:
        return spawned.general_arguments(self.workflow)


def _tune_process() -> None:
    """Change settings of this process that cost trivial jobs a tenth of their time (2,000 jobs on 2 cores)."""
    # The DAG stays until the end, so the garbage collector need not check it again and again.
    gc.freeze()
    # A thread that waits for Python's lock gets it after this time instead of 5 ms, and reports of ends come sooner.
    sys.setswitchinterval(0.0005)
