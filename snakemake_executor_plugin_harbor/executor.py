"""Snakemake's executor: jobs in, ends out. Everything between is the session's.

It derives from RealExecutor, not RemoteExecutor: that one polls on a timer, from a thread that starts before the
subclass exists, and harbor is told of every end the moment it comes.
"""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.settings import ExecMode

from .core.capacity import HandOverLimits
from .core.model import Request
from .jobs import snakemake_command as spawned
from .snakemake_internals import dag, scheduler

CANCEL_GRACE_S = 3.0
"""Between TERM and KILL after Ctrl-C."""
CANCEL_WAIT_S = 9.0
"""Ctrl-C leaves nothing running within 10 s."""
UNWIND_S = 2.0
"""From Ctrl-C until Snakemake, which has to unwind first, has called `cancel`."""


class Executor(RealExecutor):  # type: ignore[misc]
    """`snakemake --executor harbor`."""

    def __post_init__(self) -> None:
        from .config.settings import pool_config, pop_password
        from .session.session import Session

        self.cancelling = False
        self._begun = False
        self._stopping = False
        self._cancelled = False
        self._interrupted = -UNWIND_S
        self.session: Session
        if not dag.is_empty(self.workflow):
            self.session = Session(self)
        else:
            # Snakemake says "Nothing to be done", and does not shut an executor down that had nothing to do.
            pool_config(self.executor_settings)
            pop_password(self.executor_settings)

    # --- what Snakemake calls -------------------------------------------------------------------------------

    def run_jobs(self, jobs: list[Any]) -> None:
        """Queue a batch. What is wrong with a job is reported for that job: an exception would end the workflow."""
        if not self._begun:
            self._begun = True
            self._install_signal_handlers()
            self._wake_for_signals()
            _tune_process()
            scheduler.remove_unreachable_rate_limit(self.workflow)
        self.session.submit(jobs)

    def run_job(self, job: Any) -> None:
        """Queue one job."""
        self.run_jobs([job])

    def handle_job_success(self, job: Any) -> None:
        """Snakemake has the job's outputs on record: the node may forget it."""
        self.session.result_recorded(job)

    def handle_job_error(self, job: Any) -> None:
        """Snakemake counted the job as failed: after its last retry nothing more starts."""
        self.session.result_recorded(job)
        if scheduler.is_last_try(job) and not scheduler.keeps_going(self.workflow):
            self.session.halt()

    def cancel(self) -> None:
        """Ctrl-C, or an exception in Snakemake: end every job on every node, then shut down."""
        self.cancelling = True
        try:
            self.session.cancel(CANCEL_GRACE_S, CANCEL_WAIT_S)
        finally:
            self._cancelled = True

    def shutdown(self) -> None:
        """All jobs have ended."""
        self.session.close("ended")

    def hand_over_limits(self) -> HandOverLimits:
        """For the scheduler plugin: how many jobs of each class may still be handed over."""
        return self.session.hand_over_limits()

    def request(self, job: Any) -> Request:
        """For the scheduler plugin: what a job asks of a node."""
        return self.session.request(job)

    # --- what the session calls -----------------------------------------------------------------------------

    def submitted(self, job: Any, id: str) -> None:
        """Have Snakemake note under which id a job was started, beside its incomplete marker."""
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=f"harbor:{id}"))

    def error(self, job: Any, message: str, log: str | None = None) -> None:
        """Report a failed job, with its log as an auxiliary one (`--show-failed-logs` prints it)."""
        if not self.cancelling:
            logs = [log] if log and Path(log).exists() else []
            try:
                self.report_job_error(SubmittedJobInfo(job), msg=message, aux_logs=logs)
            except (Exception, SystemExit) as unprintable:
                # Snakemake formats the job's shell command for its message, which is what may have failed the job.
                self.logger.error(f"Error in rule {job.name}: {message}\n{unprintable}")
                scheduler.fail_silently(self.workflow, job)

    def success(self, job: Any) -> None:
        """Report a job whose outputs are there."""
        if not self.cancelling:
            self.report_job_success(SubmittedJobInfo(job))

    # --- Snakemake on the node, for what cannot be dispatched directly ------------------------------------------

    @property
    def cores(self) -> Any:
        """Asked for by Snakemake's interface; `get_job_args` has each job's own number."""
        return "all"

    def get_exec_mode(self) -> ExecMode:
        return ExecMode.REMOTE

    def get_python_executable(self) -> str:
        return spawned.python_executable(self.workflow)

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        arguments = super().get_job_args(job, **{"cores": spawned.cores(self.workflow, job), **kwargs})
        return f"{arguments} {self.session.sources.wait_option(spawned.files_to_wait_for(self.workflow, job))}"

    def additional_general_args(self) -> str:
        return spawned.general_arguments(self.workflow)

    # --- signals --------------------------------------------------------------------------------------------

    def _install_signal_handlers(self) -> None:
        """SIGTERM: Snakemake's own handler takes the scheduler's lock in the main thread, which may hold it: a deadlock
        in 2 of 3 tries. On a thread it cannot. SIGHUP, when the terminal is closed, detaches. Set here because the
        scheduler's constructor sets its handler later than ours.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGTERM, self._on_sigterm)
        if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
            signal.signal(signal.SIGINT, self._on_sigint)
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(signal.SIGHUP, lambda *_: _run_in_thread("harbor-sighup", self.session.detach))

    def _wake_for_signals(self) -> None:
        """Wake Snakemake's main thread at each signal, so that Python runs the handler at once.

        Python runs signal handlers only on the main thread, and only a signal that interrupts the wait of that thread
        wakes it. A signal that comes just before the wait, or that the kernel delivers to another thread, would be
        handled after the next end of a job.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        arrived, note = os.pipe()
        os.set_blocking(note, False)
        others = signal.set_wakeup_fd(note, warn_on_full_buffer=False)
        if others != -1:  # a program that uses Snakemake's API has an event loop, which wakes the main thread itself
            signal.set_wakeup_fd(others)
            return

        def wake() -> None:
            while os.read(arrived, 64):
                scheduler.request_round(self.workflow)

        _run_in_thread("harbor-signals", wake)

    def _on_sigint(self, *_: object) -> None:
        """The first is Snakemake's. Others do not cut the ending short, neither while it goes on nor on the way to it:
        they would leave jobs behind, and the kills are on their way.
        """
        now = time.monotonic()
        if now - self._interrupted < UNWIND_S or (self.cancelling and not self._cancelled):
            _run_in_thread(
                "harbor-sigint", lambda: self.logger.info("harbor: ending jobs on the nodes, a few seconds more.")
            )
            return
        self._interrupted = now
        raise KeyboardInterrupt

    def _on_sigterm(self, *_: object) -> None:
        """The first starts nothing more and lets run what runs; the second is Ctrl-C."""
        if self._stopping:
            self._on_sigint()  # a script's background job would ignore the signal itself
        self._stopping = True
        _run_in_thread("harbor-sigterm", self._stop_gracefully)

    def _stop_gracefully(self) -> None:
        scheduler.stop_gracefully(self.workflow)
        self.session.halt()


def _tune_process() -> None:
    """Settings of this process that trivial jobs gain from (a tenth of the time of 2,000 on 2 cores)."""
    # The DAG stays until the end: the collector need not look at it again and again.
    gc.freeze()
    # Threads that wait for Python's lock get it after this instead of 5 ms. Ends are known sooner, too.
    sys.setswitchinterval(0.0005)


def _run_in_thread(name: str, act: Callable[[], object]) -> None:
    """Out of a signal handler, which may have interrupted anything, into a thread of its own."""
    threading.Thread(target=act, name=name, daemon=True).start()
