"""The start message of an attempt: outputs removed, directories made, marker set, command captured."""

import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from ..config.settings import PoolConfig
from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import AttemptLocation
from ..core.pool import Pool
from ..errors import HarborError
from ..run.dispatcher import Dispatcher
from ..store.attempt_notes import AttemptNotes
from . import command as cmd
from . import outcome as out
from . import start_files
from .in_flight import InFlight, InFlightJob
from .job_hash import job_hash
from .launch_context import CommandFactory, LaunchContext, log_path
from .source_files import SourceFiles
from .spec import progress_pattern, runtime_s


class _Over(Exception):
    """The run ends: the attempt is not started."""


class StartMessages:
    """Works for the launcher's threads."""

    def __init__(
        self,
        executor: Any,
        config: PoolConfig,
        factory: CommandFactory | None,
        workdir: str,
        entries: InFlight,
        pool: Pool,
        dispatcher: Dispatcher,
        notes: AttemptNotes,
        directory: str,
        sources: SourceFiles,
        stopping: Callable[[], bool],
    ) -> None:
        """`directory` is the working directory's id; `stopping` says whether nothing is to start any more."""
        self._sources = sources
        self._notes = notes
        self._directory = directory
        self._stopping = stopping
        self._executor = executor
        self._workflow = executor.workflow
        self._config = config
        self._log_dir = Path(workdir) / config.log_dir
        self._entries = entries
        self._pool = pool
        self._dispatcher = dispatcher
        self._factory = factory
        self._order = {name: index for index, name in enumerate(pool.nodes)}
        self._order_lock = threading.Lock()

    def make(self, entry: InFlightJob, launch: act.Prepare) -> Message | ev.PrepareFailed:
        """The message, or why there is none. What is wrong with a job is printed as Snakemake prints it."""
        entry.preparing = True
        try:
            self._announce(entry)
            self._prepare(entry)
            if self._fetch(entry):
                return ev.PrepareFailed(launch.job, launch.attempt, "cached")
            return self._message(entry, launch)
        except _Over:
            return ev.PrepareFailed(launch.job, launch.attempt, "withdraw")
        except (Exception, SystemExit) as error:  # functions of the Snakefile may call sys.exit()
            return self._failed(launch, error)
        finally:
            entry.preparing = False
            if self._entries.get(entry.id) is not entry:
                out.undo_unstarted(self._workflow, entry)

    def describe_step(self, entry: InFlightJob) -> str:
        """In words: what the preparation of a job is at. It may look at files, and so may take long."""
        job = entry.job
        if entry.step is not None:
            return entry.step
        if not job.is_group() and job.shadow_dir:
            return f"its shadow directory is made (shadow: {job.rule.shadow_depth!r}): {job.shadow_dir}"
        missing = [str(file) for file in job.input if not os.path.exists(file)]
        if missing:
            more = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
            latency = self._workflow.execution_settings.latency_wait
            return f"it waits for its input {', '.join(missing[:3])}{more} (--latency-wait {latency})"
        return "its old outputs are removed and its directories are made"

    def _check(self) -> None:
        if self._stopping():
            raise _Over

    def _failed(self, launch: act.Prepare, error: BaseException) -> ev.PrepareFailed:
        from snakemake.exceptions import print_exception

        if isinstance(error, SystemExit):
            error = RuntimeError(f"SystemExit: {error}").with_traceback(error.__traceback__)
        if not isinstance(error, WorkflowError):
            error = _with_origin(error, self._workflow.linemaps)
        print_exception(error, self._workflow.linemaps)
        return ev.PrepareFailed(launch.job, launch.attempt, "unprepared", "it could not be started; see above")

    def _announce(self, entry: InFlightJob) -> None:
        """What comes before its files are touched."""
        if not entry.logged:
            entry.step = "its message and command are formatted for the log (its params may be slow functions)"
            self._executor.run_job_pre(entry.job)
            entry.logged = True
        if entry.command is None:
            out.clean(entry.temp_files)

    def _fetch(self, entry: InFlightJob) -> bool:
        """Whether the outputs of a `cache:` rule came from that cache."""
        entry.step = "its outputs are fetched from the between-workflow cache"
        return self._prepares(entry) and out.from_cache(self._workflow, entry.job)

    def _prepares(self, entry: InFlightJob) -> bool:
        """Whether a job's files are prepared here: a Snakemake on the node does so itself, but may not know the cache,
        as `--cache` without names is not forwarded to it. The outputs that come from the cache need their directories.
        """
        return entry.command is None or (out.cached(self._workflow, entry.job) and not entry.job.is_shadow)

    def _prepare(self, entry: InFlightJob) -> None:
        """Have Snakemake remove old outputs and make directories; a spawned Snakemake does so itself."""
        self._check()
        entry.step = None
        if self._prepares(entry):
            if entry.prepared:
                out.undo(self._workflow, entry.job)
            entry.prepared = True
            self._workflow.async_run(entry.job.prepare())

    def _message(self, entry: InFlightJob, launch: act.Prepare) -> Message:
        job = entry.job
        facts = self._pool.nodes[launch.node].facts
        assert facts is not None
        self._check()
        entry.step = "its params are evaluated"
        entry.hash = entry.hash or job_hash(job, self._directory)
        hashes = [job_hash(member, self._directory) for member in job.jobs] if job.is_group() else [entry.hash]
        entry.step = "its command is made (its params or resources may be slow functions)"
        command = entry.command or cmd.direct_command(self._workflow, job, facts.tmpdir, self._sources)
        context = self._context(entry, launch, command)
        env: dict[str, str | None] = {}
        if not self._pool.nodes[launch.node].spec.local:
            env |= cmd.shared_environment(facts.shared_paths, facts.path)
        # What Snakemake sets for a job wins over `envvars:`, as for a local job.
        env |= {
            **cmd.set_by_snakefile(),
            **cmd.declared_envvars(self._workflow),
            **command.env,
            **context.environment(),
        }
        if entry.command is None:
            entry.temp_files = command.temp_files
        entry.step = f"--harbor-command-factory {self._config.command_factory} is called"
        scripts = [self._final(replace(context, command=script)) for script in command.scripts]
        name = f"{launch.job.replace('/', '.')}.{launch.attempt}"
        scripts, files = start_files.shorten(scripts, command.shell, name)
        entry.temp_files += tuple(files)
        message = {
            "t": "start",
            "job": launch.job,
            "attempt": launch.attempt,
            "name": job.name,
            "scripts": scripts,
            "shell": command.shell,
            "env": env,
            "cwd": command.cwd,
            "log": entry.log,
            "needs": list(command.needs),
            "runtime": runtime_s(job),
            "progress": progress_pattern(job),
            "hash": entry.hash,
            "meta": self._meta(entry, launch),
            "cpus": max(1, len(launch.reservation.slots)),
        }
        start_files.check_size(message)
        self._check()
        place = AttemptLocation(launch.node, facts.host, facts.boot_id, facts.scratch)
        self._notes.start(entry.id, launch.attempt, hashes, place)
        self._executor.submitted(job, entry.id)
        return message

    def _meta(self, entry: InFlightJob, launch: act.Prepare) -> dict[str, Any]:
        """What adoption needs to go on with the job in another process. No command, no environment."""
        return {
            "snakemake_attempt": entry.job.attempt,
            "shadow_dir": None if entry.job.is_group() else entry.job.shadow_dir,
            "slots": list(launch.reservation.slots),
            "gpus": list(launch.reservation.gpus),
            "proc_id": entry.proc_id,
            "log": entry.log,
            "litter": list(entry.temp_files),
        }

    def _final(self, context: LaunchContext) -> str:
        if self._factory is None:
            return context.command
        option = f"--harbor-command-factory {self._config.command_factory}"
        try:
            line = self._factory(context)
        except (Exception, SystemExit) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise HarborError(
                f"{option}: raised {type(error).__name__}: {error} ({where.filename}:{where.lineno}) for job "
                f"{context.job_name} on {context.node_name}."
            ) from error
        if not isinstance(line, str) or not line.strip():
            raise HarborError(f"{option}: returned {line!r} for job {context.job_name}; it must return a command line.")
        return line

    def _context(self, entry: InFlightJob, launch: act.Prepare, command: cmd.Command) -> LaunchContext:
        job = entry.job
        wildcards = entry.wildcards
        log = log_path(self._log_dir, job.name, wildcards, str(job.jobid), launch.attempt)
        entry.log = str(log)
        self._dispatcher.logs[entry.id] = entry.log
        with self._order_lock:
            node_id = self._order.setdefault(launch.node, len(self._order))
        return LaunchContext(
            node_name=launch.node,
            node_id=node_id,
            local_id=min(launch.reservation.slots, default=0),
            proc_id=self._entries.assign_proc_id(entry),
            nnodes=len(self._pool.nodes),
            cpus_on_node=self._pool.nodes[launch.node].slots,
            threads=job.threads,
            job_name=job.name,
            job_id=str(job.jobid),
            attempt=launch.attempt,
            output_dir=log.parent,
            wildcards=wildcards,
            gpus=launch.reservation.gpus,
        )


def _with_origin(error: BaseException, linemaps: Any) -> BaseException:
    """The error with the line of the Snakefile that it comes from, as the local executor shows it."""
    from snakemake.exceptions import RuleException, format_error, get_exception_origin

    origin = get_exception_origin(error, linemaps)
    if origin is None:
        return error
    line, file = origin
    wrapped: Exception = RuleException(
        format_error(error, line, linemaps=linemaps, snakefile=file, show_traceback=True)
    )
    return wrapped
