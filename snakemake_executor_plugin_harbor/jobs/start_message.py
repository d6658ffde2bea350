"""Prepares an attempt and makes its start message: old outputs are removed, the marker is set, the command captured."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..config.pool_config import PoolConfig
from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import AttemptLocation, JobId, NodeFacts
from ..run.dispatcher import Dispatcher
from ..snakemake_internals import dag, group, log, output_cache, partial_groups, settings
from ..snakemake_internals import job as internals
from ..staging.model import MoveFailed
from ..store.attempt_notes import AttemptNotes
from . import environment, start_files
from .command import Command
from .in_flight import InFlight, InFlightJob
from .job_hash import job_hash
from .launch_context import CommandFactory, LaunchContext, apply_factory, log_path
from .node_command import command_for_node
from .source_files import SourceFiles
from .spec import progress_pattern, runtime_s
from .staging import Staging

LINK_PAUSE_S = 1.0
"""The time until the next try, when no connection for files could be made."""


class _Stopping(Exception):
    """The run ends, so the attempt is not started."""


class StartMessages:
    """Its methods run on the threads that prepare attempts."""

    def __init__(
        self,
        executor: Any,
        config: PoolConfig,
        factory: CommandFactory | None,
        workdir: str,
        in_flight: InFlight,
        dispatcher: Dispatcher,
        notes: AttemptNotes,
        directory: str,
        sources: SourceFiles,
        staging: Staging,
        stopping: Callable[[], bool],
    ) -> None:
        """`directory` is the working directory's id. `stopping` returns True when no more attempts may start."""
        self._staging = staging
        self._sources = sources
        self._notes = notes
        self._directory = directory
        self._stopping = stopping
        self._executor = executor
        self._workflow = executor.workflow
        self._config = config
        self._log_dir = Path(workdir) / config.log_dir
        self._in_flight = in_flight
        self._dispatcher = dispatcher
        self._factory = factory
        self._order = {name: index for index, name in enumerate(dispatcher.snapshot.nodes)}
        self._order_lock = threading.Lock()

    def prepare(self, launch: act.Prepare) -> Message | ev.PrepareFailed:
        """The `start` message of an attempt, or why there is none."""
        entry = None if self._stopping() else self._in_flight.get(launch.job)
        if entry is None:
            return ev.PrepareFailed(launch.job, launch.attempt, "withdraw")
        return self.make(entry, launch)

    def rule_of(self, job: JobId) -> str:
        """The rule or the group of a job."""
        entry = self._in_flight.get(job)
        return "" if entry is None else entry.name

    def report_slow(self, launch: act.Prepare, seconds: float) -> None:
        """Report to the user that an attempt has been in preparation for this long, and what the preparation does."""
        entry = self._in_flight.get(launch.job)
        if entry is not None and entry.preparing:
            self._executor.logger.warning(
                f"harbor: job {entry.number} ({entry.name}): preparing for {seconds:.0f} s: {self.describe_step(entry)}"
            )

    def more_jobs_expected(self) -> bool:
        """Return True if Snakemake is going to hand over more jobs in the round that the last end has started."""
        return dag.has_ready_jobs(self._workflow)

    def make(self, entry: InFlightJob, launch: act.Prepare) -> Message | ev.PrepareFailed:
        """Return the message, or why there is none. Errors of the job are printed as Snakemake prints them."""
        entry.preparing = True
        if entry.job.is_group():
            partial_groups.set_part(entry.job)
        try:
            self._print(entry)
            self._prepare(entry, self._is_staged(launch.node))
            if self._fetch(entry):
                return ev.PrepareFailed(launch.job, launch.attempt, "cached")
            return self._message(entry, launch)
        except _Stopping:
            return ev.PrepareFailed(launch.job, launch.attempt, "withdraw")
        except MoveFailed as error:
            return self._not_sent(entry, launch, error)
        except (Exception, SystemExit) as error:  # Functions of the Snakefile may call sys.exit().
            log.print_error(self._workflow, error)
            return ev.PrepareFailed(launch.job, launch.attempt, "unprepared", "it could not be started; see above")
        finally:
            entry.preparing = False
            if self._in_flight.get(entry.id) is not entry:
                entry.undo_preparation(self._workflow)

    def _not_sent(self, entry: InFlightJob, launch: act.Prepare, error: MoveFailed) -> ev.PrepareFailed:
        """The job's files could not be sent to the node."""
        entry.staged.pop(launch.attempt, None)
        reason = f"its files could not be sent to {launch.node}: {error.message}"
        if self._stopping():
            return ev.PrepareFailed(launch.job, launch.attempt, "withdraw")
        if error.kind == "local":
            self._executor.logger.error(f"harbor: job {entry.number} ({entry.name}): {reason}")
            return ev.PrepareFailed(launch.job, launch.attempt, "unprepared", reason)
        if error.kind == "link":
            time.sleep(LINK_PAUSE_S)  # The pool may have no other node, and would try again at once.
        return ev.PrepareFailed(launch.job, launch.attempt, "unsent", reason, fault=error.kind)

    def describe_step(self, entry: InFlightJob) -> str:
        """Describe what the preparation of a job is doing. The call looks at files, so it may take long."""
        if entry.step is not None:
            return entry.step
        shadow = internals.shadow_directory(entry.job)
        if shadow:
            return f"its shadow directory is made (shadow: {internals.shadow_depth(entry.job)!r}): {shadow}"
        missing = internals.missing_inputs(entry.job)
        if missing:
            more = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
            latency = f"{settings.latency_wait(self._workflow):g}"
            return f"it waits for its input {', '.join(missing[:3])}{more} (--latency-wait {latency})"
        return "its old outputs are removed and its directories are made"

    def _check(self) -> None:
        if self._stopping():
            raise _Stopping

    def _print(self, entry: InFlightJob) -> None:
        """Have Snakemake print the job, once, before its files are touched."""
        if not entry.logged:
            entry.step = "its message and command are formatted for the log (its params may be slow functions)"
            self._executor.run_job_pre(entry.job)
            entry.logged = True
        entry.remove_temp_files()

    def _is_staged(self, node: str) -> bool:
        facts = self._dispatcher.snapshot.nodes[node].facts
        return facts is not None and facts.staged

    def _prepare(self, entry: InFlightJob, staged: bool) -> None:
        """Have Snakemake remove old outputs and make directories. `staged`: a Snakemake on the node cannot do so."""
        self._check()
        entry.step = None
        if self._prepares_here(entry):
            if entry.prepared:
                internals.undo_preparation(self._workflow, entry.job)
            entry.prepared = True
            internals.prepare(self._workflow, entry.job)
        elif staged:
            entry.prepared = True
            internals.prepare_for_other_snakemake(self._workflow, entry.job)

    def _prepares_here(self, entry: InFlightJob) -> bool:
        """Return True if the job's files are prepared by the controller.

        A Snakemake on the node prepares them itself. But it may not know the between-workflow cache, because `--cache`
        without names is not forwarded to it. Outputs that come from the cache need their directories.
        """
        return entry.command is None or (
            output_cache.is_cached(self._workflow, entry.job) and not internals.shadow_depth(entry.job)
        )

    def _fetch(self, entry: InFlightJob) -> bool:
        """Return True if the outputs of a `cache:` rule came from the between-workflow cache."""
        entry.step = "its outputs are fetched from the between-workflow cache"
        return self._prepares_here(entry) and output_cache.fetch(self._workflow, entry.job)

    def _message(self, entry: InFlightJob, launch: act.Prepare) -> Message:
        job = entry.job
        node = self._dispatcher.snapshot.nodes[launch.node]
        facts = node.facts
        assert facts is not None
        self._check()
        entry.step = "its params are evaluated"
        entry.hash = entry.hash or job_hash(job, self._directory)
        hashes = [job_hash(member, self._directory) for member in job.jobs] if job.is_group() else [entry.hash]
        entry.step = "its command is made (its params or resources may be slow functions)"
        attempt = partial(self._staging.attempt, node.spec, launch.job, launch.attempt)
        context = self._context(entry, launch)
        made = command_for_node(self._executor, entry, node.spec.local, facts, self._sources, self._staging, attempt)
        command, staged, paths = made.command, made.staged, made.paths
        if staged is not None:
            entry.staged[launch.attempt] = staged
        entry.temp_files = command.temp_files
        message = {
            "t": "start",
            "job": launch.job,
            "attempt": launch.attempt,
            "name": internals.name(job),
            "scripts": self._scripts(entry, launch, command, context),
            "shell": command.shell,
            "env": self._environment(launch.node, facts, command, context),
            "cwd": command.cwd,
            "log": entry.log,
            "needs": list(command.needs),
            "runtime": runtime_s(job),
            "progress": progress_pattern(job),
            "hash": entry.hash,
            "meta": self._meta(entry, launch, context.proc_id),
            "cpus": max(1, len(launch.reservation.slots)),
        }
        if staged is not None and paths is not None:
            message |= {"stage": staged.directory, "cwd": paths.base}
            message |= {"scripts": paths.for_node(message["scripts"]), "env": paths.for_node(message["env"])}
        start_files.check_size(message)
        self._check()
        if staged is not None and paths is not None:
            entry.step = f"its files are sent to {launch.node}"
            self._staging.put(job, staged, paths, [*entry.temp_files, *command.modules], made.workflow_sources)
            self._check()
        place = AttemptLocation(launch.node, facts.host, facts.boot_id, facts.scratch)
        self._notes.start(entry.id, launch.attempt, hashes, place)
        self._executor.submitted(job, entry.id)
        return message

    def _environment(
        self, node: str, facts: NodeFacts, command: Command, context: LaunchContext
    ) -> dict[str, str | None]:
        local = self._dispatcher.snapshot.nodes[node].spec.local
        shared = {} if local else environment.shared_environment(facts.shared_paths, facts.path)
        return environment.of_attempt(self._workflow, command.env, context.environment(), shared)

    def _scripts(self, entry: InFlightJob, launch: act.Prepare, command: Command, context: LaunchContext) -> list[str]:
        """The scripts that the agent runs: as the command factory changes them, and sourced from files if long."""
        scripts = list(command.scripts)
        if self._factory is not None:
            entry.step = f"--harbor-command-factory {self._config.command_factory} is called"
            name = str(self._config.command_factory)
            scripts = [apply_factory(self._factory, name, replace(context, command=script)) for script in scripts]
        name = f"{launch.job.replace('/', '.')}.{launch.attempt}"
        scripts, files = start_files.shorten(scripts, command.shell, name)
        entry.temp_files += tuple(files)
        return scripts

    def _meta(self, entry: InFlightJob, launch: act.Prepare, proc_id: int) -> dict[str, Any]:
        """Return the facts with which another process can adopt the job. They contain no command and no environment."""
        return {
            "snakemake_attempt": entry.job.attempt,
            "shadow_dir": internals.shadow_directory(entry.job),
            "slots": list(launch.reservation.slots),
            "gpus": list(launch.reservation.gpus),
            "task": launch.reservation.task,
            "proc_id": proc_id,
            "prepared": time.time(),
            "log": entry.log,
            "litter": list(entry.temp_files),
            "staged": launch.attempt in entry.staged,
            "by_snakemake": entry.command is not None,
            "part": group.places(entry.job, internals.part(entry.job)) if entry.job.is_group() else [],
            "done": group.places(entry.job, internals.done_jobs(entry.job)) if entry.job.is_group() else [],
        }

    def _context(self, entry: InFlightJob, launch: act.Prepare) -> LaunchContext:
        """The place of the attempt. This also sets the job's log and its HARBOR_PROC_ID."""
        job = entry.job
        wildcards = entry.wildcards
        log = log_path(self._log_dir, internals.name(job), wildcards, internals.number(job), launch.attempt)
        entry.log = str(log)
        nodes = self._dispatcher.snapshot.nodes
        with self._order_lock:
            node_id = self._order.setdefault(launch.node, len(self._order))
        per_node, local_id = self._config.policy.ntasks_per_node, launch.reservation.task
        return LaunchContext(
            node_name=launch.node,
            node_id=node_id,
            local_id=local_id if per_node else min(launch.reservation.slots, default=0),
            proc_id=node_id * per_node + local_id if per_node else self._in_flight.assign_proc_id(entry),
            nnodes=len(nodes),
            cpus_on_node=nodes[launch.node].slots,
            threads=job.threads,
            job_name=internals.name(job),
            job_id=internals.number(job),
            attempt=launch.attempt,
            output_dir=log.parent,
            wildcards=wildcards,
            gpus=launch.reservation.gpus,
        )
