"""One run: what Snakemake handed over, and the dispatcher that works on it."""

import os
import threading
import traceback
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from ..config.hostfile_watch import HostfileWatch
from ..config.settings import host_list, pool_config, pop_password
from ..core import actions as act
from ..core import events as ev
from ..core.capacity import HandOverLimits
from ..core.dag_depth import DagDepths
from ..core.model import JobId, NodeFacts, NodeSpec, Outcome, Request
from ..core.pool import Pool
from ..core.protocol import VERSION, Message
from ..errors import HarborError
from ..jobs import command as cmd
from ..jobs import environment, start_files
from ..jobs import snakemake_command as spawned
from ..jobs.adoption import Adoption
from ..jobs.end_reports import EndReports
from ..jobs.found_record import CheckedMeta, FoundRecord
from ..jobs.in_flight import InFlight, InFlightJob
from ..jobs.job_hash import job_hash
from ..jobs.launch_context import load_factory
from ..jobs.source_files import SourceFiles
from ..jobs.spec import progress_pattern, spec_of
from ..jobs.start_message import StartMessages
from ..jobs.thread_limit import ThreadLimit, largest_node
from ..remote.connect import make_transport
from ..remote.open_files import raise_open_file_limit
from ..remote.transport import SshSettings, Target, Transport
from ..run.client import Client
from ..run.control import Control
from ..run.dispatcher import Dispatcher
from ..run.wait_recorder import WaitingJobs
from ..snakemake_internals import dag, persistence, scheduler, shadow, threads
from ..snakemake_internals import job as internals
from ..store.attempt_notes import AttemptNotes
from ..store.journal_writer import Journal
from ..store.workdir import Workdir, boot_id, new_run
from .control_requests import ControlRequests
from .notices import Notices
from .startup import await_nodes, check_jobs
from .waiting_notices import WaitingNotices


class Session:
    """Implements the dispatcher's Client for Snakemake's executor."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._workflow = executor.workflow
        self._logger = executor.logger
        self._password = pop_password(executor.executor_settings)
        self.config = pool_config(executor.executor_settings)
        few = raise_open_file_limit(len(self.config.nodes), self.config.transport)
        if few is not None:
            self._logger.warning(f"harbor: {few}")
        factory = self.config.command_factory
        self._factory = load_factory(factory) if factory else None
        self._hostlist = HostfileWatch(
            executor.executor_settings.hostfile, lambda: host_list(executor.executor_settings)
        )
        self.run = new_run()
        self.detached = False
        self._halted = False
        self._closing = False
        self._workdir_path = _typed_workdir()
        self._entries = InFlight()
        self._needs: dict[str, tuple[str, ...]] = {}
        self._news = Notices(self._logger, self._entries)
        self._waits = WaitingNotices(self._logger)
        self._depths = DagDepths(partial(dag.dependencies, self._workflow))
        self._same = environment.shareable_paths()
        self.workdir = Workdir(Path(self._workdir_path), self.run, self.warn)
        self.workdir.acquire()
        try:
            self.sources = SourceFiles(self._workflow, self.workdir.directory / "sources")
            self._journal = Journal(self.run, self.warn)
            self._begin()
        except BaseException:
            self.workdir.release()
            raise

    # --- the beginning --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.workdir.write_pointer(self._journal.path)
        self._journal.set_facts(
            run=self.run,
            workdir=self._workdir_path,
            pid=os.getpid(),
            state="running",
            started=self.workdir.started,
            settings=self._shown_settings(),
            total=sum(1 for _ in dag.jobs_for_nodes(self._workflow)),
        )
        self.pool = Pool(self.config.nodes, self.config.policy, self.config.timeouts, boot_id())
        self.dispatcher = Dispatcher(self.pool, self._journal, self.workdir)
        self._notes = AttemptNotes(self.workdir.directory / "notes", self.warn)
        self._start_messages = StartMessages(
            self._executor,
            self.config,
            self._factory,
            self._workdir_path,
            self._entries,
            self.pool,
            self.dispatcher,
            self._notes,
            self.workdir.id,
            self.sources,
            self._stopping,
        )
        markers = persistence.Markers(self._workflow)
        self.adoption = Adoption(self.dispatcher, markers, self.run, self.workdir, self._notes)
        self._reports = EndReports(self._executor, self._entries, self.dispatcher, self._notes)
        shadow.install(self._workflow)
        self.dispatcher.start(Client(self, self, self, self, self, self.internal_error))
        self._control = Control(
            self._journal.directory, ControlRequests(self.dispatcher, self.pool, self.detach).answer
        )
        try:
            ready = await_nodes(
                self.dispatcher,
                self._workflow,
                bool(self.workdir.unfinished),
                self.config.timeouts.lost_after,
                lambda line: self._logger.info(f"harbor: {line}"),
            )
            self._news.begun = True
            self._logger.info(f"harbor: {ready}")
            threads.set_handover_cores(self._workflow)
            slots = largest_node(self.pool.nodes.values())
            self._limit = ThreadLimit(self._workflow, slots, self._logger) if slots else None
            check_jobs(self._workflow, self.pool)
        except BaseException:
            self.close("failed")
            raise

    def _shown_settings(self) -> dict[str, Any]:
        """The host list for `harbor nodes`; nothing secret."""
        given = self._executor.executor_settings
        paths = {"hostfile": given.hostfile, "ssh_config": given.ssh_config}
        absolute = {key: str(Path(path).absolute()) if path else None for key, path in paths.items()}
        return {"hosts": given.hosts, "transport": given.transport, "scratch": given.scratch, **absolute}

    def transport(self, node: NodeSpec) -> Transport:
        target = Target(node.name, node.host, node.user, node.port, node.local)
        settings = SshSettings(self.config.ssh_config, self._password)
        return make_transport(target, self.config.transport, settings)

    def welcome(self, node: NodeSpec) -> Message:
        umask = os.umask(0o077)
        os.umask(umask)
        return {
            "t": "welcome",
            "v": VERSION,
            "run": self.run,
            "node": node.name,
            "scratch": node.scratch or self.config.scratch,
            "workdir": self._workdir_path,
            "owner": self.workdir.id,
            "fence": str(self.workdir.fences.path),
            "umask": umask,
            "nice": self.config.nice,
            "load_every": 1.0,
            "probe": {"file": str(self.workdir.probe), "token": self.workdir.token},
            "same": self._same,
            "environment": environment.variables_shells_drop() if node.local else {},
        }

    # --- from Snakemake's main thread -------------------------------------------------------------------------

    def submit(self, jobs: list[Any]) -> None:
        """Queue jobs; what is wrong with one of them is reported for that one."""
        for job in jobs:
            try:
                self._submit(job)
            except (Exception, SystemExit) as error:  # functions of the Snakefile may call sys.exit()
                self._reports.report_error(job, error)
        self.dispatcher.launch()

    def _submit(self, job: Any) -> None:
        self._fit(job)
        mode = cmd.dispatch_mode(self._workflow, job, self.config.dispatch)
        progress_pattern(job)
        prepared = spawned.command(self._executor, job) if mode == "snakemake" else None
        needs = prepared.needs if prepared else cmd.direct_needs(self._workflow, job)
        # A hash evaluates params, which may be slow functions: for all other jobs that is left to the preparation.
        digest = job_hash(job, self.workdir.id) if self.adoption.may_have_record(job) else ""
        found = self._find(job, digest, prepared is not None)
        id = found.record.job if found else f"{self.run}/{job.jobid}"
        attempt = found.record.attempt if found else self._entries.next_attempt(id)
        locations = {} if found else self.adoption.earlier_locations(job, digest)
        spec = spec_of(job, id, attempt, self._depths.depth_of(job), needs)
        spec = replace(spec, earlier_ids=tuple(locations), locations=locations, avoid=self._entries.failed_on(job))
        entry = InFlightJob(job, id, digest, prepared, request=spec.request)
        self._needs[job.name] = spec.request.needs
        self._entries.add(entry)
        self.dispatcher.describe(id, str(job.jobid), job.name, entry.wildcards, spec.request.cores)
        if found:
            self.dispatcher.post(ev.Submitted((spec,)), self._adopt(entry, found))
        else:
            self.dispatcher.post(ev.Submitted((spec,)))

    def _fit(self, job: Any) -> None:
        """Cut a group down to the largest node; single jobs are cut down by their rules."""
        if self._limit is not None and job.is_group():
            self._limit.limit_group(job)

    def adopt_waiting(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """On the dispatcher's thread: waiting jobs that a node, which answers only now, has from an earlier run."""
        adopted = []
        for id in jobs:
            entry = self._entries.get(id)
            if entry is None or not (entry.hash or self.adoption.may_have_record(entry.job)):
                continue
            entry.hash = entry.hash or job_hash(entry.job, self.workdir.id)
            found = self._find(entry.job, entry.hash, entry.command is not None)
            if found is not None:
                self._entries.rename(entry, found.record.job)
                adopted.append(replace(self._adopt(entry, found), submitted_as=id))
        return adopted

    def _find(self, job: Any, digest: str, spawned: bool) -> FoundRecord | None:
        """The record of an earlier run that is this job. If its node has left the host list, only the notice of its end
        is left, and that is worth something only while the outputs are there.
        """
        found = self.adoption.find(job, digest, spawned)
        if found is None or self.dispatcher.has_node(found.node) or (found.record.exit or {}).get("code") != 0:
            return found
        if internals.missing_outputs(job, self._memory(found).shadow_dir):
            self._notes.nothing_runs(found.record.job)
            return None
        return found

    def _memory(self, found: FoundRecord) -> CheckedMeta:
        return found.checked_meta(persistence.shadow_path(self._workflow), self.config.log_dir)

    def _adopt(self, entry: InFlightJob, found: FoundRecord) -> ev.Adopted:
        """Take over what the first controller knew of the job."""
        job, meta = entry.job, self._memory(found)
        internals.continue_earlier(job, meta.snakemake_attempt, meta.shadow_dir)
        entry.log, entry.temp_files = meta.log, meta.temp_files
        entry.logged = entry.prepared = True
        if meta.proc_id is not None:
            self._entries.assign_proc_id(entry, meta.proc_id)
        self.dispatcher.logs[entry.id] = entry.log or ""
        self._executor.submitted(job, entry.id)
        where = "runs" if found.record.running else "has ended"
        self._logger.info(f"harbor: job {job.jobid} ({job.name}) of an earlier run {where} on {found.node}: adopted")
        return ev.Adopted(entry.id, found.record.attempt, found.node, found.reservation, found.record.exit)

    def result_recorded(self, job: Any) -> None:
        """Snakemake is done with a job's end: the node's record of it can go."""
        self._reports.result_recorded(job)

    def halt(self) -> None:
        """Start nothing more."""
        self._halted = True
        self.dispatcher.post(ev.Halt())
        self.dispatcher.abandon()

    def hand_over_limits(self) -> HandOverLimits:
        """How many jobs of each class may still be handed over: twice the slots that can hold it, less what is here."""
        return HandOverLimits(self.dispatcher.capacity, self._entries.requested_cores())

    def request(self, job: Any) -> Request:
        """What a ready job asks of a node. What it needs there is as for the last job of its rule."""
        self._fit(job)
        try:
            if self._limit is not None and job.is_group():
                self._limit.limit_group(job)
            return spec_of(job, "", 1, 0, self._needs.get(job.name, ())).request
        except Exception:  # it is reported when the job is handed over
            return Request()

    def cancel(self, grace: float, timeout: float) -> None:
        """End every job on every node."""
        self.dispatcher.post(ev.CancelAll(grace))
        self.dispatcher.abandon()
        if not self.dispatcher.wait(self.dispatcher.idle, timeout):
            self.dispatcher.post(ev.FenceAll())
        self.close("cancelled")

    def detach(self) -> int:
        """Leave what runs to a later run, and have Snakemake end: it sees that nothing runs, and that it is to stop.
        How many jobs it leaves.
        """
        self.detached = True
        self.halt()
        entries = self._entries.all()
        self._logger.info(
            f"harbor: detaching. {len(entries)} jobs stay on the nodes or in their queue; the same command again takes "
            "over what runs or has ended by then."
        )
        dag.keep_output_directories(self._workflow)
        scheduler.stop_detached(self._workflow, self._logger)
        for entry in entries:
            if self._entries.remove(entry):
                scheduler.give_back(self._workflow, entry.job)
        scheduler.request_round(self._workflow)
        return len(entries)

    def close(self, state: str) -> None:
        """End connections and threads. Jobs that still run live on."""
        self._closing = True
        dag.keep_event_loops(self._workflow, self.dispatcher.preparing())
        try:
            over = state == "ended" and not self.detached
            whole = over and not scheduler.has_unfinished_jobs(self._workflow)
            if over:
                self.sources.remove(everything=whole)
            if whole:
                self._tidy()
            for found in self.adoption.leftovers() if over else ():
                # Of a run that failed only its own: a later one may still want those of earlier ones.
                if whole or found.record.job.startswith(f"{self.run}/"):
                    self.dispatcher.forget(found.node, found.record.job, found.record.attempt)
            self._control.close()
            self.dispatcher.close("detached" if self.detached else state)
            self._notes.close()
        finally:
            self.workdir.release()

    def _tidy(self) -> None:
        """All is done: leave nothing that only unfinished jobs need."""
        try:
            self.workdir.write_pointer(self._journal.path, complete=True)
            self._notes.clear()
            start_files.remove_all()
            self.workdir.fences.remove_exit_notices()
        except OSError as error:
            self.warn(
                f"{self.workdir.directory} cannot be written ({error.strerror}); the run is complete all the same"
            )

    # --- from the launcher's threads ----------------------------------------------------------------------------

    def prepare(self, launch: act.Prepare) -> Message | ev.PrepareFailed:
        """The start message of an attempt, unless nothing is to start any more."""
        entry = None if self._stopping() else self._entries.get(launch.job)
        if entry is None:
            return ev.PrepareFailed(launch.job, launch.attempt, "withdraw")
        return self._start_messages.make(entry, launch)

    def rule_of(self, job: JobId) -> str:
        """The rule (or group) of a job."""
        entry = self._entries.get(job)
        return "" if entry is None else str(entry.job.name)

    def report_slow(self, launch: act.Prepare, seconds: float) -> None:
        """Tell the user that an attempt has been in preparation for this long, and what it is at."""
        entry = self._entries.get(launch.job)
        if entry is not None and entry.preparing:
            job = entry.job
            what = self._start_messages.describe_step(entry)
            self._logger.warning(f"harbor: job {job.jobid} ({job.name}): preparing for {seconds:.0f} s: {what}")

    def more_jobs_expected(self) -> bool:
        """Whether Snakemake will hand over more in the round that the last end has set off."""
        return dag.has_ready_jobs(self._workflow)

    def _stopping(self) -> bool:
        """Whether nothing is to start any more."""
        if self._executor.cancelling or self._closing or self._halted:
            return True
        if not scheduler.is_stopping(self._workflow):
            return False
        self.halt()
        return True

    # --- from the reporter's thread -----------------------------------------------------------------------------

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake how a job ended; False: its outputs are not visible here yet."""
        return self._reports.report(outcome)

    def batch_reported(self) -> None:
        """All of a batch were told."""
        scheduler.merge_requests(self._workflow)

    # --- from the dispatcher's thread ---------------------------------------------------------------------------

    def warn(self, text: str) -> None:
        """Tell the user of trouble that harbor goes on with. (Any thread.)"""
        self._logger.warning(f"harbor: {text}")

    def changed_host_list(self) -> tuple[NodeSpec, ...] | None:
        """The host list, if it was edited; a bad edit is a warning, and the list stays as it is."""
        try:
            return self._hostlist.changed()
        except HarborError as error:
            self._logger.warning(f"harbor: the edited host list is not used: {error}")
            return None

    def why_unusable(self, node: str, facts: NodeFacts) -> str | None:
        """Why a node that answered cannot be used; None if it can."""
        if facts.shared:
            return None
        return (
            f"the working directory {self._workdir_path} is not there, or is another one. Mount it at the same path "
            "on every node, or take the node out of the host list"
        )

    def capacity_grown(self) -> None:
        """Snakemake has handed over what the slots before could hold: have it come again."""
        scheduler.request_round(self._workflow)

    def notify(self, change: act.NodeChanged | act.JobStalled) -> None:
        """Tell the user of a node that comes or goes, and of a job that seems to hang."""
        self._news.tell(change)
        if isinstance(change, act.NodeChanged) and change.node in self.pool.nodes:
            self._news.check_memory(self.pool.nodes[change.node])

    def report_waiting(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Tell the user which jobs wait, and why."""
        self._waits.tell(groups, now)
        for node in self.pool.nodes.values():  # an edit of the host list changes no state
            self._news.check_memory(node)

    def internal_error(self, error: BaseException) -> None:
        """A bug of ours on one of harbor's threads: the workflow ends with the traceback instead of waiting."""
        dag.keep_output_directories(self._workflow)
        if isinstance(error, HarborError):
            failure: WorkflowError = error
        else:
            text = "".join(traceback.format_exception(error))
            failure = WorkflowError(f"harbor: internal error, please report it. Running jobs live on.\n{text}")
        if scheduler.is_built(self._workflow):
            stop = partial(scheduler.stop_with_error, self._workflow, failure)
            threading.Thread(target=stop, name="harbor-error", daemon=True).start()
        else:
            self._logger.error(str(failure))


def _typed_workdir() -> str:
    """The working directory as typed where that is the same one: automounters resolve to paths nodes lack."""
    typed, real = os.environ.get("PWD", ""), os.getcwd()
    try:
        return typed if typed.startswith("/") and os.path.samefile(typed, real) else real
    except OSError:
        return real
