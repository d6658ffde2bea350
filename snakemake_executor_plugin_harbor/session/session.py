"""One run of Snakemake with harbor. It builds the parts and connects them."""

from functools import partial
from typing import Any

from ..config.password import pop_password
from ..config.pool_config import pool_config
from ..core.capacity import HandOverLimits
from ..core.model import Request
from ..core.pool import Pool
from ..jobs.adoption import Adoption
from ..jobs.cancellation import Cancellation
from ..jobs.end_reports import EndReports
from ..jobs.fetches import Fetches
from ..jobs.in_flight import InFlight
from ..jobs.launch_context import load_factory
from ..jobs.staging import Staging
from ..jobs.start_message import StartMessages
from ..jobs.submission import Submission
from ..jobs.thread_limit import ThreadLimit, largest_node
from ..remote.open_files import raise_open_file_limit
from ..run.client import Client
from ..run.control import Control
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import opened_files, partial_groups, persistence, scheduler, shadow, threads
from ..snakemake_internals import settings as snakemake_settings
from ..snakemake_internals.verify import verify
from ..staging.movers import Movers
from ..store.output_log import continue_in_output_log, is_output_log, output_log
from ..store.workdir import boot_id
from .control_requests import ControlRequests
from .ending import Ending
from .hangup import Output, ignore_hangup, log_file
from .job_requests import JobRequests
from .notices import Notices
from .run_files import RunFiles
from .signals import SignalHandlers
from .startup import check_jobs, refuse_immediate_submit, wait_for_nodes
from .welcome import Welcome


class Session:
    """Does for Snakemake's executor what a run needs. Snakemake's main thread calls it."""

    def __init__(self, executor: Any) -> None:
        """Connect to the nodes, and wait until some are ready.

        Raises HarborError if a setting is wrong, if no node can be used, or if a job fits on no node.
        """
        self._executor = executor
        self._workflow = executor.workflow
        self._logger = executor.logger
        opened_files.stop()
        verify(self._workflow, self._warn)
        refuse_immediate_submit(self._workflow)
        settings = executor.executor_settings
        self._password = pop_password(settings)
        self._config = pool_config(settings)
        warning = raise_open_file_limit(len(self._config.nodes), self._config.transport)
        if warning is not None:
            self._warn(warning)
        factory = self._config.command_factory
        self._factory = load_factory(factory) if factory else None
        self._control: Control | None = None
        self._files = RunFiles(self._workflow, settings, self._warn)
        self.sources = self._files.sources
        self._begun = False
        try:
            self._be_ready_for_hangup()
            self._build()
        except BaseException:
            self._files.release()
            raise
        try:
            self._start()
        except BaseException:
            self.close("failed")
            raise

    def _be_ready_for_hangup(self) -> None:
        """Note where the output is, and be ready for a closed terminal from now on."""
        files, log = self._files, log_file(self._logger)
        workdir, run = files.workdir.workdir, files.workdir.run
        files.journal.set_facts(log=str(log) if log else None, output=is_output_log(workdir))
        if self._config.on_hangup == "continue":
            ignore_hangup()
        text = f"the terminal is gone, and the output goes on in {output_log(workdir)}. harbor attach shows it."
        Output(lambda: continue_in_output_log(workdir, run, log), lambda: self._info(text)).watch(self._logger)

    def _build(self) -> None:
        executor, config, files = self._executor, self._config, self._files
        in_flight = InFlight()
        access = Welcome(config, executor.executor_settings, self._password, files.workdir, self._warn)
        self._movers = Movers(access.transport, access.mover_welcome)
        staging = Staging(files.workdir.workdir, files.workdir.id, self._movers, files.sources)
        pool = Pool(config.nodes, config.policy, config.timeouts, boot_id())
        self._dispatcher = Dispatcher(pool, files.journal, files.workdir)
        self._notices = Notices(self._logger, in_flight, lambda: self._dispatcher.snapshot.nodes)
        adoption = Adoption(
            self._dispatcher, persistence.Markers(self._workflow), files.workdir.run, files.workdir, files.notes
        )
        self._ending = Ending(self._workflow, self._logger, in_flight, self._dispatcher, adoption, files)
        self._signals = SignalHandlers(
            self._ending.stop_gracefully,
            self._ending.detach,
            self._ending.is_cancelling,
            partial(scheduler.request_round, self._workflow),
            self._info,
        )
        start_messages = StartMessages(
            executor,
            config,
            self._factory,
            str(files.workdir.workdir),
            in_flight,
            self._dispatcher,
            files.notes,
            files.workdir.id,
            files.sources,
            staging,
            self._ending.is_stopping,
        )
        self._cancellation = Cancellation(self._workflow, in_flight, self._dispatcher)
        fetches = Fetches(
            staging,
            snakemake_settings.keeps_incomplete(self._workflow),
            config.timeouts.lost_after,
            self._dispatcher.look_again_at_ends,
        )
        self._end_reports = EndReports(executor, in_flight, self._dispatcher, files.notes, fetches)
        self._submission = Submission(
            executor,
            config,
            in_flight,
            self._dispatcher,
            adoption,
            self._end_reports,
            files.notes,
            files.workdir,
            self._cancellation,
            staging,
        )
        self._client = Client(
            nodes=access,
            jobs=self._submission,
            start_messages=start_messages,
            end_reports=self._end_reports,
            notices=self._notices,
            internal_error=self._ending.internal_error,
            transfers=staging.transfers,
        )
        shadow.install(self._workflow)
        partial_groups.install()

    def _start(self) -> None:
        """Connect, and wait until nodes are ready and every job is known to fit on one of them."""
        self._dispatcher.start(self._client)
        jobs = JobRequests(self._workflow, self._cancellation, self._info)
        requests = ControlRequests(self._dispatcher, self._ending.detach, self._signals.stop, jobs, lambda: self._begun)
        self._control = Control(self._files.journal.directory, requests.answer)
        ready = wait_for_nodes(
            self._dispatcher,
            self._workflow,
            bool(self._files.workdir.unfinished),
            self._config.timeouts.lost_after,
            self._info,
            self._config.nnodes,
        )
        self._notices.run_started()
        self._info(ready)
        threads.set_handover_cores(self._workflow)
        slots = largest_node(self._dispatcher.snapshot.nodes.values())
        if slots:
            self._submission.thread_limit = ThreadLimit(self._workflow, slots, self._logger)
        check_jobs(self._workflow, self._dispatcher.snapshot.capacity, self._submission.ranks)
        self._begun = True

    @property
    def cancelling(self) -> bool:
        """Return True if all jobs are being ended, so that nothing is reported to Snakemake any more."""
        return self._ending.cancelling

    def install_signal_handlers(self) -> None:
        """Handle SIGINT, SIGTERM and SIGHUP from now on."""
        self._signals.install()

    def submit(self, jobs: list[Any]) -> None:
        """Queue jobs. An error in one of them is reported for that job."""
        self._submission.submit(jobs)

    def hand_over_limits(self) -> HandOverLimits:
        """For each class of jobs, how many more may be handed over."""
        return self._submission.hand_over_limits()

    def request(self, job: Any) -> Request:
        """Return what a ready job asks of a node."""
        return self._submission.request(job)

    def result_recorded(self, job: Any) -> None:
        """Snakemake has recorded the end of a job, so the job's node may forget it."""
        self._end_reports.result_recorded(job)

    def is_cancelled(self, job: Any) -> bool:
        """Return whether the user has cancelled this job."""
        return self._cancellation.has(job)

    def halt(self) -> None:
        """Start no more jobs."""
        self._ending.halt()

    def cancel(self) -> None:
        """End every job on every node, and then close."""
        self._movers.close()
        self._ending.cancel(self._control)

    def close(self, state: str) -> None:
        """End connections and threads. Jobs that still run go on."""
        self._movers.close()
        self._ending.close(state, self._control)

    def _info(self, text: str) -> None:
        self._logger.info(f"harbor: {text}")

    def _warn(self, text: str) -> None:
        self._logger.warning(f"harbor: {text}")
