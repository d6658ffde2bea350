"""Jobs on their way into the pool: each is queued as a new job, or adopted because an earlier run has started it."""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from ..config.pool_config import PoolConfig
from ..core import events as ev
from ..core.capacity import HandOverLimits
from ..core.dag_depth import DagDepths
from ..core.model import JobId, Request
from ..run.dispatcher import Dispatcher
from ..run.inbox import JobDescription
from ..snakemake_internals import dag, group, partial_groups, persistence, scheduler
from ..snakemake_internals import job as internals
from ..store.attempt_notes import AttemptNotes
from ..store.workdir import Workdir
from . import command as cmd
from . import snakemake_command
from .adoption import Adoption
from .cancellation import Cancellation
from .end_reports import EndReports
from .found_record import CheckedMeta, FoundRecord
from .in_flight import InFlight, InFlightJob
from .job_hash import job_hash
from .ranks import Ranks
from .spec import progress_pattern, spec_of
from .staging import Staging
from .thread_limit import ThreadLimit


class Submission:
    """Implements the dispatcher's `JobSource`. Snakemake's main thread calls the other methods."""

    def __init__(
        self,
        executor: Any,
        config: PoolConfig,
        in_flight: InFlight,
        dispatcher: Dispatcher,
        adoption: Adoption,
        end_reports: EndReports,
        notes: AttemptNotes,
        workdir: Workdir,
        cancellation: Cancellation,
        staging: Staging,
    ) -> None:
        self._staging = staging
        self._executor = executor
        self._workflow = executor.workflow
        self._config = config
        self._in_flight = in_flight
        self._dispatcher = dispatcher
        self._adoption = adoption
        self._end_reports = end_reports
        self._notes = notes
        self._workdir = workdir
        self._cancellation = cancellation
        self._depths = DagDepths(partial(dag.dependencies, self._workflow))
        self._dag_size = dag.size(self._workflow)
        self._groups: dict[Any, Any] = {}
        """The group of each job that was handed over in one."""
        self._needs: dict[str, tuple[str, ...]] = {}
        self._unstaged: dict[str, tuple[str, tuple[str, str] | None]] = {}
        self.ranks = Ranks([node.name for node in config.nodes], config.policy.ntasks_per_node)
        self.thread_limit: ThreadLimit | None = None
        """Set when the slots of the largest node are known."""

    # --- from Snakemake's main thread -------------------------------------------------------------------------

    def submit(self, jobs: list[Any]) -> None:
        """Queue jobs. An error in one of them is reported for that job, and the others are queued."""
        self._count_jobs()
        for job in jobs:
            try:
                self._submit(job)
            except (Exception, SystemExit) as error:  # functions of the Snakefile may call sys.exit()
                self._end_reports.report_error(job, error)
        self._dispatcher.prepare_placed()

    def _submit(self, job: Any) -> None:
        if job.is_group():
            self._groups.update(dict.fromkeys(job.jobs, job))
        self._limit_threads(job)
        mode = cmd.dispatch_mode(self._workflow, job, self._config.dispatch)
        progress_pattern(job)
        command = snakemake_command.command(self._executor, job) if mode == "snakemake" else None
        needs = command.needs if command else cmd.direct_needs(self._workflow, job)
        # A hash evaluates params, which may be slow functions. Unless adoption needs it now, the preparation makes it.
        hash = job_hash(job, self._workdir.id) if self._adoption.may_have_record(job) else ""
        found = self._find_record(job, hash, command is not None)
        id = found.record.job if found else f"{self._workdir.run}/{internals.number(job)}"
        attempt = found.record.attempt if found else self._in_flight.next_attempt(id)
        locations = {} if found else self._adoption.earlier_locations(job, hash)
        spec = spec_of(job, id, attempt, self._depths.depth_of(job), needs, self.ranks)
        nodes = self._dispatcher.snapshot.nodes.values()
        staged = [node.spec.name for node in nodes if node.facts is not None and node.facts.staged]
        sending = self._staging.seconds_to_send(job, staged) if staged else ()
        unstaged = cmd.why_unstaged(self._workflow, job, mode)
        spawned = cmd.snakemake_on_node(job, mode)
        spec = replace(spec, request=replace(spec.request, unstaged=unstaged, snakemake=spawned, sending=sending))
        spec = replace(spec, earlier_ids=tuple(locations), locations=locations, avoid=self._in_flight.failed_on(job))
        entry = InFlightJob(job, id, hash, command, logged=self._in_flight.is_printed(job), request=spec.request)
        self._needs[spec.rule], self._unstaged[spec.rule] = spec.request.needs, (unstaged, spawned)
        self._in_flight.add(entry)
        number, *others = internals.numbers(job)
        described = JobDescription(id, number, internals.name(job), entry.wildcards, spec.request.cores, others)
        self._dispatcher.describe_job(described)
        adopted = (self._adopt(entry, found),) if found else ()
        self._cancellation.submit(job, id, ev.Submitted((spec,)), *adopted)

    def _count_jobs(self) -> None:
        """Tell the journal how many jobs the run has, when a checkpoint has changed that."""
        size = dag.size(self._workflow)
        if size != self._dag_size:
            self._dag_size = size
            self._dispatcher.set_total(dag.count_for_nodes(self._workflow, self._groups))

    def _limit_threads(self, job: Any) -> None:
        """Reduce the threads of a group to the slots of the largest node. Single jobs are limited by their rules."""
        if self.thread_limit is not None and job.is_group():
            self.thread_limit.limit_group(job)

    def hand_over_limits(self) -> HandOverLimits:
        """For each class of jobs, how many more may be handed over.

        The limit is twice the slots that can hold such jobs, less the jobs that are here already.
        """
        return HandOverLimits(self._dispatcher.snapshot.capacity, self._in_flight.requested_cores())

    def request(self, job: Any) -> Request:
        """Return what a ready job asks of a node. Its paths are those of the last job of its rule."""
        try:
            self._limit_threads(job)
            name = internals.name(job)
            request = spec_of(job, "", 1, 0, self._needs.get(name, ()), self.ranks).request
            unstaged, spawned = self._unstaged.get(name, ("", None))
            return replace(request, unstaged=unstaged, snakemake=spawned)
        except Exception:  # `submit` reports the error when the job is handed over
            return Request()

    # --- from the dispatcher's thread -------------------------------------------------------------------------

    def adopt_waiting(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """Adopt those of the waiting jobs that an earlier run started and that a node has listed by now."""
        adopted = []
        for id in jobs:
            entry = self._in_flight.get(id)
            if entry is None or not (entry.hash or self._adoption.may_have_record(entry.job)):
                continue
            entry.hash = entry.hash or job_hash(entry.job, self._workdir.id)
            found = self._find_record(entry.job, entry.hash, entry.command is not None)
            if found is not None:
                self._in_flight.rename(entry, found.record.job)
                adopted.append(replace(self._adopt(entry, found), submitted_as=id))
        return adopted

    def capacity_grown(self) -> None:
        """Have Snakemake hand over more jobs. It has handed over only what the slots before could hold."""
        scheduler.request_round(self._workflow)

    # --- adoption, from both threads --------------------------------------------------------------------------

    def _find_record(self, job: Any, hash: str, spawned: bool) -> FoundRecord | None:
        """The record of an earlier run that is this job.

        If its node has left the host list, only the notice of its end is left. A notice of success counts only while
        the outputs exist, and not if they had to be fetched from that node. The second part of a group counts only
        while the outputs of the first one exist.
        """
        found = self._adoption.find(job, hash, spawned)
        if found is not None and job.is_group():
            before = group.at_places(job, self._meta(found).done)
            if not all(map(os.path.lexists, internals.kept_outputs(before))):
                return None
        if found is None or found.node in self._dispatcher.snapshot.nodes or (found.record.exit or {}).get("code") != 0:
            return found
        meta = self._meta(found)
        if meta.staged or internals.missing_outputs(job, meta.shadow_dir):
            self._notes.nothing_runs(found.record.job)
            return None
        return found

    def _meta(self, found: FoundRecord) -> CheckedMeta:
        return found.checked_meta(persistence.shadow_path(self._workflow), self._config.log_dir)

    def _adopt(self, entry: InFlightJob, found: FoundRecord) -> ev.Adopted:
        """Give the job the state that it had in the run which started it."""
        job, meta = entry.job, self._meta(found)
        internals.continue_earlier(job, meta.snakemake_attempt, meta.shadow_dir)
        entry.log, entry.temp_files = meta.log, meta.temp_files
        entry.logged = entry.prepared = True
        if job.is_group():
            partial_groups.mark_done(job, group.at_places(job, meta.done))
            partial_groups.set_part(job, group.at_places(job, meta.part))
        node = self._dispatcher.snapshot.nodes.get(found.node)
        if meta.staged and node is not None:
            attempt = found.record.attempt
            entry.staged[attempt] = self._staging.attempt(node.spec, entry.id, attempt, meta.by_snakemake)
        if meta.proc_id is not None:
            self._in_flight.assign_proc_id(entry, meta.proc_id)
        self._executor.submitted(job, entry.id)
        state = "is running" if found.record.running else "has ended"
        self._executor.logger.info(
            f"harbor: adopted job {entry.number} ({entry.name}) of an earlier run, which {state} on {found.node}"
        )
        return ev.Adopted(
            entry.id,
            found.record.attempt,
            found.node,
            found.reservation,
            found.record.exit,
            log=entry.log,
            started=meta.prepared,
            staged=meta.staged,
        )
