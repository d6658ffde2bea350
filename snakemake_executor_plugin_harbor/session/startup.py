"""Checks before the first job: nodes answer, and each job fits on one of them."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..core.capacity import Capacity
from ..core.job import impossible_message
from ..core.model import NodeState, without_name
from ..errors import HarborError
from ..jobs.ranks import Ranks
from ..jobs.spec import NO_RANKS, progress_pattern, spec_of
from ..run.dispatcher import Dispatcher
from ..run.snapshot import Snapshot
from ..snakemake_internals import dag, settings

FIRST_ANSWER_S = 60.0
"""A node may take this long to answer at the start. After that, the run goes on without it."""
STRAGGLER_S = 3.0
"""When one node is ready, the run waits this long for the others."""
BOOTING_S = 30.0
"""While no node is ready, the run waits this long for nodes that failed, because the whole pool may be booting."""
CHECK_INTERVAL_S = 0.5
REPORT_AFTER_S = 2.0
"""If a start takes longer than this, the user is told what it waits for."""
SHOWN_NODES = 20


def wait_for_nodes(
    dispatcher: Dispatcher,
    workflow: Any,
    unfinished: bool,
    lost_after: float,
    info: Callable[[str], object],
    nnodes: int | None = None,
) -> str:
    """Wait until nodes are ready. Returns a line that names them.

    `unfinished`: an earlier run may have left jobs on nodes. The run then waits for a node that failed as long as for a
    node that is lost. `info` gets lines that say what the run waits for. `nnodes` is the number of nodes that a new run
    needs; an unfinished run had them and goes on without those that were lost. Raises HarborError with each node's
    reason if no node can be used, or too few.
    """
    limit = max(BOOTING_S, lost_after) if unfinished else BOOTING_S
    needed = nnodes if nnodes is not None and not unfinished else 1
    try:
        delayed = _wait_for_first(dispatcher, limit, info, needed)
        while _enough(dispatcher.snapshot, needed):
            _wait_for_others(dispatcher, workflow, unfinished, delayed)
            if _enough(dispatcher.snapshot, needed):
                break
            # The nodes that were ready have been lost meanwhile, so the run waits for them again.
            delayed = _wait_for_first(dispatcher, limit, info, needed)
        if not _enough(dispatcher.snapshot, needed):
            # One node that is rejected may end the wait. The error shall name all others that are missing, too.
            dispatcher.wait(Snapshot.all_nodes_answered, STRAGGLER_S)
    except KeyboardInterrupt:
        # Snakemake handles Ctrl-C only while its scheduler runs. Before that it would print a traceback.
        raise HarborError("interrupted while no node was ready yet; no job has been started.") from None
    now = dispatcher.snapshot
    if not _enough(now, needed):
        raise _too_few_nodes(now, nnodes if needed > 1 else None)
    ready = now.ready_nodes()
    shown = ", ".join(ready[:SHOWN_NODES]) + (", ..." if len(ready) > SHOWN_NODES else "")
    return f"{len(ready)} of {len(now.nodes)} nodes ready, {now.slots} slots: {shown}"


def refuse_immediate_submit(workflow: Any) -> None:
    """Raise HarborError for --immediate-submit, with which Snakemake leaves the order of the jobs to the executor.

    Nodes would get jobs whose inputs do not exist yet, and the run would end with "BUG: Out of jobs".
    """
    if settings.submits_immediately(workflow):
        raise HarborError(
            "--immediate-submit is for batch systems that know which jobs a job waits for. harbor takes each job when "
            "its inputs exist.",
            "the same command without --immediate-submit",
        )


def _enough(now: Snapshot, needed: int) -> bool:
    return now.slots > 0 and len(now.ready_nodes()) >= needed


def _too_few_nodes(now: Snapshot, nnodes: int | None) -> HarborError:
    """The error for a pool without a usable node, or with fewer than `nnodes`. It names each node that is missing."""
    missing = {name: node for name, node in now.nodes.items() if node.state != NodeState.READY}
    reasons = "\n".join(
        f"  {name}: {without_name(name, node.why) or node.state.value}" for name, node in missing.items()
    )
    if nnodes is None:
        return HarborError(f"no node of the pool can be used:\n{reasons}", "harbor doctor")
    count = "1 node is" if len(missing) == 1 else f"{len(missing)} nodes are"
    fewer = f"   # or use fewer nodes: --harbor-nnodes {len(now.nodes) - len(missing)}"
    return HarborError(
        f"--harbor-nnodes {nnodes}: {count} missing:\n{reasons}",
        f"harbor doctor{fewer * (len(missing) < len(now.nodes))}",
    )


def _wait_for_first(dispatcher: Dispatcher, limit: float, info: Callable[[str], object], needed: int) -> bool:
    """Wait until `needed` nodes are ready, until so many cannot become ready any more, or until the time is over.

    `limit` is for nodes that have failed and may come back. A node that has not answered yet gets FIRST_ANSWER_S if
    that is longer. Returns whether the wait was long enough to be reported.
    """
    begun, reported = time.monotonic(), ""
    decided = (NodeState.READY, NodeState.REJECTED)
    while not _enough(now := dispatcher.snapshot, needed) and not dispatcher.failed:
        ready = now.ready_nodes()
        reasons = {name: node.why for name, node in now.nodes.items() if node.state not in decided}
        left = begun + (limit if all(reasons.values()) else max(limit, FIRST_ANSWER_S)) - time.monotonic()
        if not reasons or len(ready) + len(reasons) < needed or left <= 0:
            break
        text = _group_by_reason(reasons)
        if text != reported and time.monotonic() - begun > REPORT_AFTER_S:
            reported = text
            usable = f"only {len(ready)} of {needed} nodes can" if ready else "no node can"
            info(f"{usable} be used yet. Waiting up to {left:.0f} s more for {text}")
        dispatcher.wait(lambda now: _enough(now, needed), min(left, CHECK_INTERVAL_S))
    return bool(reported)


def _wait_for_others(dispatcher: Dispatcher, workflow: Any, unfinished: bool, delayed: bool) -> None:
    """Wait a moment until the other nodes are ready, too. `delayed` means that the first node came late."""
    # If the first node came late, others that failed may be on their way, too.
    complete = Snapshot.all_nodes_decided if delayed else Snapshot.all_nodes_answered
    if not complete(dispatcher.snapshot):
        # A slow node may still run jobs of the earlier run, which must not be started twice. A job with outputs has an
        # incomplete marker, so it waits for its node by itself. Jobs without outputs have none.
        unmarked = any(not list(job.output) for job in dag.jobs_for_nodes(workflow))
        dispatcher.wait(complete, FIRST_ANSWER_S if unfinished and unmarked else STRAGGLER_S)


def _group_by_reason(reasons: Mapping[str, str]) -> str:
    """The nodes with their reasons. Nodes with the same reason are listed together."""
    nodes: dict[str, list[str]] = {}
    for name, why in reasons.items():
        reason = (without_name(name, why).splitlines() or ["it has not answered"])[0]
        nodes.setdefault(reason, []).append(name)
    lines = [f"{', '.join(names[:10])}{', ...' * (len(names) > 10)} ({reason})" for reason, names in nodes.items()]
    return "; ".join(lines[:10]) + "; ..." * (len(lines) > 10)


def check_jobs(workflow: Any, capacity: Capacity, ranks: Ranks = NO_RANKS) -> None:
    """Raise HarborError for a job that no node can ever hold, now and not after hours of other work."""
    checked: set[Any] = set()
    for job in dag.jobs_for_nodes(workflow):
        try:
            spec = spec_of(job, "check", 1, 0, (), ranks)
            progress_pattern(job)
        except HarborError:
            raise
        except Exception:
            # A resource may be a function of inputs that do not exist yet. It is checked when the job is ready.
            continue
        if spec.request in checked:
            continue
        checked.add(spec.request)
        refusal = capacity.refusal(spec.request)
        if refusal is not None:
            raise HarborError(f"rule {job.name}: {impossible_message(refusal)}", "harbor nodes")
