"""One run: what Snakemake handed over, and the dispatcher that works on it."""

import os
import socket
import threading
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from . import command as cmd
from . import outcome as out
from .adoption import Adoption, Found, Notes
from .core import events as ev
from .core.jobs import impossible
from .core.model import JobId, JobState, NodeFacts, NodeSpec, NodeState, Outcome
from .core.placement import Refusal, never
from .core.pool import Pool
from .core.protocol import VERSION, Message
from .depth import Depths
from .entry import Entries, Entry
from .errors import HarborError
from .identity import job_hash
from .jobspec import progress_pattern, spec_of
from .launch import load_factory
from .remote.transport import SshSettings, Target, Transport, make_transport
from .run.control import Control
from .run.dispatcher import Dispatcher
from .run.hostlist import HostList
from .run.journal import Journal, shown_state
from .run.project import Project, new_run
from .settings import host_list, pool_config, take_password
from .starter import Starter

FIRST_ANSWER_S = 60.0
"""How long a node may take to answer at the start before the run goes on without it."""
STRAGGLER_S = 3.0
"""With one node ready, how long the others are waited for."""


class Session:
    """Implements the dispatcher's Client for Snakemake's executor."""

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self._workflow = executor.workflow
        self._logger = executor.logger
        self.config = pool_config(executor.executor_settings)
        self._password = take_password(executor.executor_settings)
        factory = self.config.command_factory
        self._factory = load_factory(factory) if factory else None
        self._hostlist = HostList(executor.executor_settings.hostfile, lambda: host_list(executor.executor_settings))
        self.run = new_run()
        self.detached = False
        self._workdir = _workdir()
        self._entries = Entries()
        self._warned: dict[str, str] = {}
        self._present: set[str] = set()
        self._begun = False
        self._reported: dict[str, Outcome] = {}
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
        self.dispatcher = Dispatcher(self.pool, self._journal, self.project, self, self._transport, self._welcome)
        self._notes = Notes(self.project.directory / "started")
        self._starter = Starter(
            self._executor,
            self.config,
            self._factory,
            self._workdir,
            self._entries,
            self.pool,
            self.dispatcher,
            self._notes,
        )
        self.adoption = Adoption(self.dispatcher, self._workflow.persistence, self.run, self.project, self._notes)
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
            # What a slow node still runs must not be started twice. Jobs with outputs have markers, and wait for it.
            unmarked = any(not job.is_local and not list(job.output) for job in self._workflow.dag.needrun_jobs())
            patience = FIRST_ANSWER_S if self.project.unfinished and unmarked else STRAGGLER_S
            dispatcher.wait(dispatcher.nodes_settled, patience)
        states = dispatcher.reasons()
        if not dispatcher.slots:
            reasons = "\n".join(f"  {name}: {why or state.value}" for name, (state, why) in states.items())
            raise HarborError(f"no node of the pool can be used:\n{reasons}", "harbor doctor")
        self._begun = True
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
            reasons = {name: never(spec.request, node) for name, node in list(self.pool.nodes.items())}
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
        match request.get("op"):
            case "read":
                data = self.dispatcher.read_output(str(request.get("job")), int(request.get("offset", 0)))
                return {"data": None if data is None else data.hex()}
            case "detach":
                jobs = len(self._entries.all())
                self.detach()
                return {"jobs": jobs}
            case "drain" | "resume" as wish:
                return {"state": self._drain(str(request.get("node")), wish == "drain", str(request.get("reason")))}
        raise HarborError(f"this controller does not know {request.get('op')!r}; it may be of another version.")

    def _drain(self, name: str, drain: bool, reason: str) -> str:
        """Close a node to new jobs, or open it again; its state then."""
        if name not in self.pool.nodes:
            names = ", ".join(list(self.pool.nodes))
            raise HarborError(f"the pool has no node {name}; it has {names}.", "harbor status")
        self.dispatcher.post(ev.Drain(name, (reason or "by the user") if drain else ""))

        def state() -> str | None:
            node = self.pool.nodes.get(name)
            return shown_state(node)[0] if node is not None and bool(node.drain) == drain else None

        self.dispatcher.wait(lambda: state() is not None, 5.0)
        return state() or "gone"

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
        self.dispatcher.launch()

    def _submit(self, job: Any) -> None:
        way = cmd.way(job, self.config.dispatch)
        progress_pattern(job)
        prepared = cmd.on_node(self._executor, job) if way == "snakemake" else None
        needs = prepared.needs if prepared else cmd.direct_needs(job)
        digest = job_hash(job)
        found = self.adoption.find(job, digest)
        conflicts = () if found else tuple(self.adoption.conflicting(job))
        id = found.known.job if found else f"{self.run}/{job.jobid}"
        attempt = found.known.attempt if found else self._entries.first_attempt(id)
        former = () if found or conflicts else self.adoption.former(job)
        spec = replace(spec_of(job, id, attempt, self._depths.of_any(job), needs), former=former)
        entry = Entry(job, id, digest, prepared, cores=spec.request.cores, conflicts=conflicts)
        self._entries.add(entry)
        self.dispatcher.describe(id, str(job.jobid), job.name, entry.wildcards, spec.request.cores)
        for conflict in conflicts:
            self.dispatcher.end(conflict.node, conflict.known.job, conflict.known.attempt)
        if found:
            self.dispatcher.post(ev.Submitted((spec,)), self._adopt(entry, found))
        else:
            self.dispatcher.post(ev.Submitted((spec,)))

    def reunite(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """On the dispatcher's thread: waiting jobs that a node, which answers only now, has from an earlier run."""
        adopted = []
        for id in jobs:
            entry = self._entries.get(id)
            found = self.adoption.find(entry.job, entry.hash) if entry is not None else None
            if entry is not None and found is not None:
                self._entries.rename(entry, found.known.job)
                adopted.append(replace(self._adopt(entry, found), known_as=id))
        return adopted

    def _adopt(self, entry: Entry, found: Found) -> ev.Adopted:
        """Take over what the first controller knew of the job."""
        job, meta = entry.job, found.memory(Path(self._workflow.persistence.shadow_path), self.config.log_dir)
        if meta.snakemake_attempt is not None:
            job.attempt = meta.snakemake_attempt
        if meta.shadow_dir is not None:
            job.shadow_dir = meta.shadow_dir
        entry.log, entry.litter = meta.log, meta.litter
        entry.printed = entry.prepared = True
        if meta.proc_id is not None:
            self._entries.number(entry, meta.proc_id)
        self.dispatcher.logs[entry.id] = entry.log or ""
        self._executor.submitted(job, entry.id)
        where = "runs" if found.known.running else "has ended"
        self._logger.info(f"harbor: job {job.jobid} ({job.name}) of an earlier run {where} on {found.node}: adopted")
        return ev.Adopted(entry.id, found.known.attempt, found.node, found.seat, found.known.exit)

    def settled(self, job: Any) -> None:
        """Snakemake is done with a job's end: the node's record of it can go."""
        self._notes.drop(job)
        ended = self._reported.pop(str(job.jobid), None)
        if ended is not None and ended.node is not None:
            self.dispatcher.settled(ended.node, ended.job, ended.attempt)

    def halt(self) -> None:
        """Start nothing more."""
        self.dispatcher.post(ev.Halt())

    def room(self) -> int:
        """Cores' worth of jobs that may still be handed over: twice the pool's slots, less what is here."""
        return 2 * self.dispatcher.slots - self._entries.cores

    def cancel(self, grace: float, timeout: float) -> None:
        """End every job on every node."""
        self.dispatcher.post(ev.CancelAll(grace))
        self.dispatcher.wait(self.dispatcher.idle, timeout)
        self.close("cancelled")

    def detach(self) -> None:
        """Leave what runs to a later run, and have Snakemake end: it sees that nothing runs, and that it is to stop."""
        self.detached = True
        self.halt()
        entries = self._entries.all()
        self._logger.info(
            f"harbor: detaching. {len(entries)} jobs stay on the nodes or in their queue; the same command again takes "
            "over what runs or has ended by then."
        )
        out.leave_directories(self._workflow)
        # Snakemake knows only success and failure; exit code 1 tells scripts enough.
        self._workflow._onerror = lambda log: None
        self._logger.addFilter(lambda record: "job did not complete successfully" not in record.getMessage())
        scheduler = self._workflow.scheduler
        scheduler._user_kill = "detach"
        for entry in entries:
            if self._entries.remove(entry):
                out.give_back(self._workflow, entry.job)
        scheduler._open_jobs.release()

    def close(self, state: str) -> None:
        """End connections and threads. Jobs that still run live on."""
        try:
            over = state == "ended" and not self.detached
            whole = over and not self._workflow.scheduler.remaining_jobs
            if whole:
                self.project.point_to(self._journal.path, complete=True)
                self._notes.clear()
                self.project.clear_words()
            for found in self.adoption.leftovers() if over else ():
                # Of a run that failed only its own: a later one may still want those of earlier ones.
                if whole or found.known.job.startswith(f"{self.run}/"):
                    self.dispatcher.forget(found.node, found.known.job, found.known.attempt)
            self._control.close()
            self.dispatcher.close("detached" if self.detached else state)
        finally:
            self.project.release()

    # --- from the launcher's thread -----------------------------------------------------------------------------

    def prepare(self, launches: list[ev.Launch]) -> list[Message | ev.Unprepared]:
        """The start messages of attempts, unless nothing is to start any more."""
        entries = [None if self._stopping() else self._entries.get(launch.job) for launch in launches]
        wanted = [(entry, launch) for entry, launch in zip(entries, launches, strict=True) if entry is not None]
        answers = iter(self._starter.start(wanted))
        return [
            ev.Unprepared(launch.job, launch.attempt, "withdraw") if entry is None else next(answers)
            for entry, launch in zip(entries, launches, strict=True)
        ]

    def busy(self) -> bool:
        """Whether Snakemake will hand over more in the round that the last end has set off."""
        return bool(self._workflow.dag._ready_jobs)

    def _stopping(self) -> bool:
        scheduler = self._workflow.scheduler
        if not (scheduler._user_kill or (scheduler._errors and not self._workflow.execution_settings.keep_going)):
            return False
        self.halt()
        return True

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
        if not self._close_entry(entry, outcome):
            return True
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

    def _close_entry(self, entry: Entry, outcome: Outcome) -> bool:
        if not self._entries.remove(entry, outcome):
            return False
        if self._workflow.execution_settings.cleanup_scripts:
            out.clean(entry.litter)
        self._reported[str(entry.job.jobid)] = outcome
        if self._executor.cancelling and outcome.node is not None:
            self.dispatcher.forget(outcome.node, outcome.job, outcome.attempt)
        return True

    # --- from the dispatcher's thread ---------------------------------------------------------------------------

    def hosts(self) -> tuple[NodeSpec, ...] | None:
        """The host list, if it was edited; a bad edit is a warning, and the list stays as it is."""
        try:
            return self._hostlist.changed()
        except HarborError as error:
            self._logger.warning(f"harbor: the edited host list is not used: {error}")
            return None

    def accept(self, node: str, facts: NodeFacts) -> str | None:
        """Why a node that answered cannot be used; None if it can."""
        if facts.shared:
            return None
        return (
            f"the working directory {self._workdir} is not there, or is another one. Mount it at the same path "
            "on every node, or take the node out of the host list"
        )

    def grown(self) -> None:
        """Snakemake has handed over what the slots before could hold: have it come again."""
        scheduler = self._workflow.scheduler
        if scheduler is not None:
            scheduler._open_jobs.release()

    def news(self, change: ev.NodeChanged | ev.Stalled) -> None:
        """Warn of a node that is lost or unusable, once for each reason, and of a job that seems to hang."""
        match change:
            case ev.Stalled(id, node, seconds, killed):
                entry = self._entries.get(id)
                if entry is not None:
                    what = (
                        "it is ended and tried again" if killed else "is it stuck? (--harbor-on-stall kill ends such)"
                    )
                    job = f"job {entry.job.jobid} ({entry.job.name}) on {node}"
                    self._logger.warning(f"harbor: {job}: no output and no progress for {seconds:.0f} s; {what}")
            case ev.NodeChanged(node, NodeState.REJECTED | NodeState.BACKOFF | NodeState.QUARANTINED as state, why):
                if self._warned.get(node) != why:
                    self._warned[node] = why
                    self._logger.warning(f"harbor: node {node} is not used ({state.value}): {why}")
            case ev.NodeChanged(node, NodeState.READY):
                if self._warned.pop(node, ""):
                    self._logger.info(f"harbor: node {node} is back")
                elif self._begun and node not in self._present:
                    self._logger.info(f"harbor: node {node} has joined")
                self._present.add(node)
            case ev.NodeChanged(node, NodeState.REMOVED):
                self._present.discard(node)
                self._logger.info(f"harbor: node {node} has left the pool")

    def broken(self, error: BaseException) -> None:
        """A bug of ours on one of harbor's threads: the workflow ends with the traceback instead of waiting."""
        scheduler = self._workflow.scheduler
        out.leave_directories(self._workflow)
        if isinstance(error, HarborError):
            failure: WorkflowError = error
        else:
            text = "".join(traceback.format_exception(error))
            failure = WorkflowError(f"harbor: internal error, please report it. Running jobs live on.\n{text}")
        if scheduler is None:
            self._logger.error(str(failure))
        else:
            threading.Thread(target=scheduler.executor_error_callback, args=(failure,), daemon=True).start()

    def _fail(self, job: Any, error: Exception) -> None:
        self._executor.error(job, _text(error))


def _text(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, WorkflowError) and text else f"{type(error).__name__}: {text}"


def _workdir() -> str:
    """The working directory as typed where that is the same one: automounters resolve to paths nodes lack."""
    typed, real = os.environ.get("PWD", ""), os.getcwd()
    try:
        return typed if typed.startswith("/") and os.path.samefile(typed, real) else real
    except OSError:
        return real
