"""One run: what Snakemake handed over, and the dispatcher that works on it."""

import os
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from . import command as cmd
from . import outcome as out
from .adoption import Adoption, Found
from .core import events as ev
from .core.model import JobState, NodeFacts, NodeSpec, NodeState, Outcome
from .core.placement import Refusal, never
from .core.pool import Pool, impossible
from .core.protocol import VERSION, Message
from .depth import Depths
from .errors import HarborError
from .identity import job_hash
from .jobspec import progress_pattern, runtime_s, spec_of
from .launch import LaunchContext, load_factory, log_path
from .remote.transport import SshSettings, Target, Transport, make_transport
from .run.control import Control
from .run.dispatcher import Dispatcher
from .run.journal import Journal
from .run.project import Project, new_run
from .settings import pool_config, take_password

FIRST_ANSWER_S = 60.0
"""How long a node may take to answer at the start before the run goes on without it."""
STRAGGLER_S = 3.0
"""With one node ready, how long the others are waited for."""


@dataclass
class Entry:
    """A job between submission and Snakemake's verdict."""

    job: Any
    id: str
    hash: str
    command: cmd.Command | None
    proc_id: int | None = None
    log: str | None = None
    litter: tuple[str, ...] = ()
    printed: bool = False
    cores: int = 1
    conflicts: tuple[Found, ...] = ()


class Session:
    """Implements the dispatcher's Client for Snakemake's executor."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._workflow = executor.workflow
        self._logger = executor.logger
        self.config = pool_config(executor.executor_settings)
        self._password = take_password(executor.executor_settings)
        self._factory = load_factory(self.config.command_factory) if self.config.command_factory else None
        self.run = new_run()
        self._workdir = _workdir()
        self._entries: dict[str, Entry] = {}
        self._attempts: dict[str, int] = {}
        self._warned: dict[str, str] = {}
        self._reported: dict[str, Outcome] = {}
        self._lock = threading.Lock()
        self._proc_ids: set[int] = set()
        self._cores = 0
        self._latency = out.Latency(self._workflow.execution_settings.latency_wait)
        self._depths = Depths(self._workflow.dag.job_dependencies)
        self._same = cmd.shareable_paths()
        self._identity = f"{socket.gethostname()}:{self._workdir}"
        self.project = Project(Path(self._workdir), self.run)
        self.project.acquire()
        try:
            self._journal = Journal(self.run)
            self._begin()
        except BaseException:
            self.project.release()
            raise

    # --- the beginning --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.project.point_to(self._journal.path)
        self._journal.describe(
            run=self.run,
            workdir=self._workdir,
            pid=os.getpid(),
            state="running",
            started=self.project.started,
            settings=self._shown_settings(),
            total=sum(1 for job in self._workflow.dag.needrun_jobs() if not job.is_local),
        )
        self.pool = Pool(self.config.nodes, self.config.policy, self.config.patience)
        self._order = {name: index for index, name in enumerate(self.pool.nodes)}
        self.dispatcher = Dispatcher(self.pool, self._journal, self.project, self, self._transport, self._welcome)
        self.adoption = Adoption(self.dispatcher, self._workflow.persistence, self.run)
        self._control = Control(self._journal.directory, self._answer)
        self.dispatcher.start()
        try:
            self._await_nodes()
            self._check_all()
        except BaseException:
            self.close("failed")
            raise

    def _await_nodes(self) -> None:
        dispatcher = self.dispatcher
        dispatcher.wait(lambda: dispatcher.nodes_settled() or dispatcher.slots > 0, FIRST_ANSWER_S)
        if not dispatcher.nodes_settled():
            # A job that a slow node still runs must not be started twice: wait longer where one may be.
            patience = FIRST_ANSWER_S if self.adoption.expected() else STRAGGLER_S
            dispatcher.wait(dispatcher.nodes_settled, patience)
        states = dispatcher.reasons()
        if not dispatcher.slots:
            reasons = "\n".join(f"  {name}: {why or state.value}" for name, (state, why) in states.items())
            raise HarborError(f"no node of the pool can be used:\n{reasons}", "harbor doctor")
        ready = [name for name, (state, _) in states.items() if state == NodeState.READY]
        text = f"harbor: {len(ready)} of {len(states)} nodes ready, {dispatcher.slots} slots: {', '.join(ready[:20])}"
        self._logger.info(text + (", ..." if len(ready) > 20 else ""))

    def _check_all(self) -> None:
        """A job that no node can ever hold is an error now, not after hours of other work."""
        seen: set[Any] = set()
        for job in self._workflow.dag.needrun_jobs():
            if job.is_local:
                continue
            try:
                spec = spec_of(job, "check", 1, 0, ())
                progress_pattern(job)
            except HarborError:
                raise
            except Exception:
                # Resources of a function over inputs that are not there yet: known when the job is ready.
                continue
            if spec.request in seen:
                continue
            seen.add(spec.request)
            reasons = {name: never(spec.request, node) for name, node in self.pool.nodes.items()}
            if all(reasons.values()):
                refusal = Refusal({name: why or "" for name, why in reasons.items()}, forever=True)
                raise HarborError(f"rule {job.name}: {impossible(refusal)}", "harbor nodes")

    def _shown_settings(self) -> dict[str, Any]:
        """The host list for `harbor nodes`; nothing secret."""
        given = self._executor.executor_settings
        paths = {"hostfile": given.hostfile, "ssh_config": given.ssh_config}
        absolute = {key: str(Path(path).absolute()) if path else None for key, path in paths.items()}
        return {"hosts": given.hosts, "transport": given.transport, "scratch": given.scratch, **absolute}

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """A request from the `harbor` command, on the control thread."""
        if request.get("op") == "read":
            data = self.dispatcher.read_output(str(request.get("job")), int(request.get("offset", 0)))
            return {"data": None if data is None else data.hex()}
        raise HarborError(f"this controller does not know {request.get('op')!r}; it may be of an older version.")

    def _transport(self, node: NodeSpec) -> Transport:
        target = Target(node.name, node.host, node.user, node.port, node.local)
        settings = SshSettings(self.config.ssh_config, self._password)
        return make_transport(target, self.config.transport, settings)

    def _welcome(self, node: NodeSpec) -> Message:
        umask = os.umask(0o077)
        os.umask(umask)
        return {
            "t": "welcome",
            "v": VERSION,
            "run": self.run,
            "node": node.name,
            "scratch": node.scratch or self.config.scratch,
            "workdir": self._workdir,
            "owner": self._identity,
            "fence": str(self.project.fences),
            "umask": umask,
            "nice": self.config.nice,
            "load_every": 1.0,
            "probe": {"file": str(self.project.probe), "token": self.project.token},
            "same": self._same,
            "environment": cmd.odd_variables() if node.local else {},
        }

    # --- from Snakemake's main thread -------------------------------------------------------------------------

    def submit(self, jobs: list[Any]) -> None:
        """Queue jobs; what is wrong with one of them is reported for that one."""
        for job in jobs:
            try:
                self._submit(job)
            except Exception as error:
                self._fail(job, error)

    def _submit(self, job: Any) -> None:
        way = cmd.way(job, self.config.dispatch)
        progress_pattern(job)
        prepared = cmd.on_node(self._executor, job) if way == "snakemake" else None
        needs = prepared.needs if prepared else cmd.direct_needs(job)
        digest = job_hash(job)
        found = self.adoption.find(job, digest)
        conflicts = () if found else tuple(self.adoption.conflicting(job))
        id = found.known.job if found else f"{self.run}/{job.jobid}"
        attempt = found.known.attempt if found else self._attempts.pop(id, 0) + 1
        spec = spec_of(job, id, attempt, self._depths.of_any(job), needs)
        entry = Entry(job, id, digest, prepared, cores=spec.request.cores, conflicts=conflicts)
        with self._lock:
            self._entries[id] = entry
            self._cores += entry.cores
        wildcards = {} if job.is_group() else job.wildcards_dict
        self.dispatcher.describe(id, str(job.jobid), job.name, wildcards, spec.request.cores)
        for conflict in conflicts:
            self.dispatcher.end(conflict.node, conflict.known.job, conflict.known.attempt)
        if found:
            self.dispatcher.post(ev.Submitted((spec,)), self._adopt(entry, found))
        else:
            self.dispatcher.post(ev.Submitted((spec,)))

    def _adopt(self, entry: Entry, found: Found) -> ev.Adopted:
        """Take over what the first controller knew of the job."""
        job, meta = entry.job, found.known.meta
        if isinstance(meta.get("snakemake_attempt"), int):
            job.attempt = meta["snakemake_attempt"]
        if meta.get("shadow_dir"):
            job.shadow_dir = meta["shadow_dir"]
        entry.log = meta.get("log")
        entry.litter = tuple(meta.get("litter") or ())
        entry.printed = True
        if isinstance(meta.get("proc_id"), int):
            entry.proc_id = meta["proc_id"]
            with self._lock:
                self._proc_ids.add(entry.proc_id)
        self.dispatcher.logs[entry.id] = entry.log or ""
        self._executor.report_job_submission(_info(entry))
        where = "runs" if found.known.running else "has ended"
        self._logger.info(f"harbor: job {job.jobid} ({job.name}) of an earlier run {where} on {found.node}: adopted")
        return ev.Adopted(entry.id, found.known.attempt, found.node, found.seat, found.known.exit)

    def settled(self, job: Any) -> None:
        """Snakemake is done with a job's end: the node's record of it can go."""
        ended = self._reported.pop(str(job.jobid), None)
        if ended is not None and ended.node is not None:
            self.dispatcher.forget(ended.node, ended.job, ended.attempt)

    def halt(self) -> None:
        """Start nothing more."""
        self.dispatcher.post(ev.Halt())

    def room(self) -> int:
        """Cores' worth of jobs that may still be handed over: twice the pool's slots, less what is here."""
        return 2 * self.dispatcher.slots - self._cores

    def cancel(self, grace: float, timeout: float) -> None:
        """End every job on every node; a second Ctrl-C does not shorten it (the kills are on their way by then)."""
        self.dispatcher.post(ev.CancelAll(grace))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                self.dispatcher.wait(self.dispatcher.idle, deadline - time.monotonic())
                break
            except KeyboardInterrupt:
                self._logger.info("harbor: still ending jobs on the nodes; this takes a few seconds.")
        self.close("cancelled")

    def close(self, state: str) -> None:
        """End connections and threads. Jobs that still run live on."""
        try:
            for found in self.adoption.leftovers():
                self.dispatcher.forget(found.node, found.known.job, found.known.attempt)
            self._control.close()
            self.dispatcher.close(state)
        finally:
            self.project.release()

    # --- from the launcher's thread -----------------------------------------------------------------------------

    def prepare(self, launch: ev.Launch) -> Message | ev.Unprepared:
        """The start message of an attempt: outputs removed, directories made, marker set, command captured."""
        entry = self._entries.get(launch.job)
        if entry is None or self._stopping():
            return ev.Unprepared(launch.job, launch.attempt, "withdraw")
        try:
            return self._prepare(entry, launch)
        except Exception as error:
            from snakemake.exceptions import print_exception

            if not isinstance(error, WorkflowError):
                error = _with_origin(error, self._workflow.linemaps)
            print_exception(error, self._workflow.linemaps)
            return ev.Unprepared(launch.job, launch.attempt, "unprepared", "it could not be started; see above")

    def _stopping(self) -> bool:
        scheduler = self._workflow.scheduler
        if not (scheduler._user_kill or (scheduler._errors and not self._workflow.execution_settings.keep_going)):
            return False
        self.halt()
        return True

    def _prepare(self, entry: Entry, launch: ev.Launch) -> Message | ev.Unprepared:
        job = entry.job
        for conflict in entry.conflicts:
            self.dispatcher.await_end(conflict.known.job, conflict.known.attempt, 15.0)
        entry.conflicts = ()
        if not entry.printed:
            self._executor.run_job_pre(job)
            entry.printed = True
        if out.from_cache(self._workflow, job):
            return ev.Unprepared(launch.job, launch.attempt, "cached")
        facts = self.pool.nodes[launch.node].facts
        assert facts is not None
        command = entry.command
        if command is None:
            self._workflow.async_run(job.prepare())
            command = cmd.direct(self._workflow, job, facts.tmpdir)
        context = self._context(entry, launch, command)
        self._executor.report_job_submission(_info(entry))
        env: dict[str, str | None] = {}
        if not self.pool.nodes[launch.node].spec.local:
            env |= cmd.shared_environment(facts.same, facts.path)
        env |= {**command.env, **cmd.declared_envvars(self._workflow), **context.environment()}
        scripts = [self._final(replace(context, command=script)) for script in command.scripts]
        entry.litter = command.litter
        return {
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
            "cpus": max(1, len(launch.seat.slots)),
        }

    def _meta(self, entry: Entry, launch: ev.Launch) -> dict[str, Any]:
        """What adoption needs to go on with the job in another process. No command, no environment."""
        return {
            "snakemake_attempt": entry.job.attempt,
            "shadow_dir": None if entry.job.is_group() else entry.job.shadow_dir,
            "slots": list(launch.seat.slots),
            "gpus": list(launch.seat.gpus),
            "proc_id": entry.proc_id,
            "log": entry.log,
            "litter": list(entry.litter),
        }

    def _final(self, context: LaunchContext) -> str:
        if self._factory is None:
            return context.command
        option = f"--harbor-command-factory {self.config.command_factory}"
        try:
            line = self._factory(context)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise HarborError(
                f"{option}: raised {type(error).__name__}: {error} ({where.filename}:{where.lineno}) for job "
                f"{context.job_name} on {context.node_name}."
            ) from error
        if not isinstance(line, str) or not line.strip():
            raise HarborError(f"{option}: returned {line!r} for job {context.job_name}; it must return a command line.")
        return line

    def _context(self, entry: Entry, launch: ev.Launch, command: cmd.Command) -> LaunchContext:
        job = entry.job
        if entry.proc_id is None:
            with self._lock:
                entry.proc_id = next(i for i in range(len(self._proc_ids) + 1) if i not in self._proc_ids)
                self._proc_ids.add(entry.proc_id)
        wildcards = {} if job.is_group() else job.wildcards_dict
        log = Path(self._workdir) / log_path(self.config.log_dir, job.name, wildcards, str(job.jobid), launch.attempt)
        entry.log = str(log)
        self.dispatcher.logs[entry.id] = entry.log
        return LaunchContext(
            node_name=launch.node,
            node_id=self._order[launch.node],
            local_id=min(launch.seat.slots, default=0),
            proc_id=entry.proc_id,
            nnodes=len(self._order),
            cpus_on_node=self.pool.nodes[launch.node].slots,
            threads=job.threads,
            job_name=job.name,
            job_id=str(job.jobid),
            attempt=launch.attempt,
            output_dir=log.parent,
            wildcards=wildcards,
            gpus=launch.seat.gpus,
        )

    # --- from the reporter's thread -----------------------------------------------------------------------------

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake how a job ended, once its outputs are visible here."""
        entry = self._entries.get(outcome.job)
        if entry is None:
            return True
        job = entry.job
        failure: str | None = None
        try:
            if outcome.state == JobState.SUCCEEDED:
                missing = out.missing_outputs(job)
                if missing and not self._latency.over(entry.id):
                    return False
                self._latency.done(entry.id)
                failure = out.complete(self._workflow, job, outcome, missing, self._latency.seconds)
            elif outcome.state != JobState.WITHDRAWN:
                failure = out.describe(outcome, entry.log)
        except Exception as error:
            failure = f"harbor: its result could not be taken: {_text(error)}"
        self._close_entry(entry, outcome)
        if outcome.state == JobState.WITHDRAWN:
            out.give_back(self._workflow, job)
        elif failure is not None:
            if outcome.exit is None and outcome.node is None:
                self._executor.error(job, failure)
            else:
                self._executor.error(job, failure, entry.log)
        else:
            self._executor.success(job)
        return True

    def reported(self) -> None:
        """Let Snakemake run one scheduling round for the batch instead of one for each job in it: the first takes in
        all of them (1,900 of 2,100 rounds over 2,000 jobs found nothing, at 1.5 to 4 ms each). One permit is put
        back after the last report, so nothing is missed.
        """
        permits = self._workflow.scheduler._open_jobs
        drained = False
        while permits.acquire(blocking=False):
            drained = True
        if drained:
            permits.release()

    def _close_entry(self, entry: Entry, outcome: Outcome) -> None:
        with self._lock:
            del self._entries[entry.id]
            self._cores -= entry.cores
            self._proc_ids.discard(-1 if entry.proc_id is None else entry.proc_id)
        if outcome.state != JobState.SUCCEEDED:
            # Snakemake may try it again: its next attempt has the next number.
            self._attempts[entry.id] = outcome.attempt
        if not self._workflow.execution_settings.cleanup_scripts:
            entry.litter = ()
        out.clean(entry.litter)
        self._reported[str(entry.job.jobid)] = outcome
        if self._executor.cancelling and outcome.node is not None:
            self.dispatcher.forget(outcome.node, outcome.job, outcome.attempt)

    # --- from the dispatcher's thread ---------------------------------------------------------------------------

    def accept(self, node: str, facts: NodeFacts) -> str | None:
        """Why a node that answered cannot be used; None if it can."""
        if facts.shared:
            return None
        return (
            f"the working directory {self._workdir} is not there, or is another one. Mount it at the same path "
            "on every node, or take the node out of the host list"
        )

    def news(self, change: ev.NodeChanged) -> None:
        """Warn of a node that is lost or unusable, once for each reason; the run goes on with the others."""
        unusable = (NodeState.REJECTED, NodeState.BACKOFF, NodeState.QUARANTINED)
        if change.state in unusable and self._warned.get(change.node) != change.reason:
            self._warned[change.node] = change.reason
            self._logger.warning(f"harbor: node {change.node} is not used ({change.state.value}): {change.reason}")
        elif change.state == NodeState.READY and self._warned.pop(change.node, ""):
            self._logger.info(f"harbor: node {change.node} is back")

    def broken(self, error: BaseException) -> None:
        """A bug of ours on one of harbor's threads: the workflow ends with the traceback instead of waiting."""
        text = "".join(traceback.format_exception(error))
        scheduler = self._workflow.scheduler
        failure = WorkflowError(f"harbor: internal error, please report it. Running jobs live on.\n{text}")
        if scheduler is None:
            self._logger.error(str(failure))
        else:
            threading.Thread(target=scheduler.executor_error_callback, args=(failure,), daemon=True).start()

    def _fail(self, job: Any, error: Exception) -> None:
        self._executor.error(job, _text(error))


def _info(entry: Entry) -> SubmittedJobInfo:
    return SubmittedJobInfo(entry.job, external_jobid=f"harbor:{entry.id}")


def _text(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, WorkflowError) and text else f"{type(error).__name__}: {text}"


def _with_origin(error: Exception, linemaps: Any) -> Exception:
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


def _workdir() -> str:
    """The working directory as typed where that is the same one: automounters resolve to paths nodes lack."""
    typed, real = os.environ.get("PWD", ""), os.getcwd()
    try:
        return typed if typed.startswith("/") and os.path.samefile(typed, real) else real
    except OSError:
        return real
