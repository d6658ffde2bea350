"""Before the first job: nodes that answer, and jobs that some node can hold."""

import time
from collections.abc import Callable
from typing import Any

from ..core.capacity import Capacity
from ..core.job import impossible_message
from ..core.model import NodeState
from ..errors import HarborError
from ..jobs.spec import progress_pattern, spec_of
from ..run.dispatcher import Dispatcher
from ..run.snapshot import Snapshot
from ..snakemake_internals import dag

FIRST_ANSWER_S = 60.0
"""How long a node may take to answer at the start before the run goes on without it."""
STRAGGLER_S = 3.0
"""With one node ready, how long the others are waited for."""
BOOTING_S = 30.0
"""How long a run waits for its first node while what keeps the nodes away can pass: the whole pool may be booting."""
LOOK_EVERY_S = 0.5
TELL_AFTER_S = 2.0
"""A start that takes longer than this says what it waits for."""


def await_nodes(
    dispatcher: Dispatcher, workflow: Any, unfinished: bool, lost_after: float, tell: Callable[[str], object]
) -> str:
    """Return, once nodes are ready, a line that names them. `unfinished`: an earlier run may have left jobs on nodes,
    which are waited for as long as for a node that is lost. `tell` gets a line about what is waited for.
    Raises HarborError with each node's reason if none can be used.
    """
    try:
        waited = _await_first(dispatcher, max(BOOTING_S, lost_after) if unfinished else BOOTING_S, tell)
    except KeyboardInterrupt:
        # Snakemake catches Ctrl-C only when its scheduler runs, and would show a traceback here.
        raise HarborError("interrupted while no node was ready yet; no job has been started.") from None
    settled = Snapshot.all_nodes_decided if waited else Snapshot.all_nodes_answered
    if dispatcher.snapshot.slots and not settled(dispatcher.snapshot):
        # What a slow node still runs must not be started twice. Jobs with outputs have markers, and wait for it.
        unmarked = any(not list(job.output) for job in dag.jobs_for_nodes(workflow))
        dispatcher.wait(settled, FIRST_ANSWER_S if unfinished and unmarked else STRAGGLER_S)
    now = dispatcher.snapshot
    if not now.slots:
        reasons = "\n".join(f"  {name}: {node.why or node.state.value}" for name, node in now.nodes.items())
        raise HarborError(f"no node of the pool can be used:\n{reasons}", "harbor doctor")
    ready = [name for name, node in now.nodes.items() if node.state == NodeState.READY]
    shown = ", ".join(ready[:20]) + (", ..." if len(ready) > 20 else "")
    return f"{len(ready)} of {len(now.nodes)} nodes ready, {now.slots} slots: {shown}"


def _await_first(dispatcher: Dispatcher, limit: float, tell: Callable[[str], object]) -> bool:
    """Wait until a node is ready, or none can become ready any more, or the time is over. Whether a node that failed
    was waited for: then the others may be on their way, too.
    """
    begun, told = time.monotonic(), ""
    while not dispatcher.snapshot.slots and not dispatcher.failed:
        awaited = {
            name: node.why for name, node in dispatcher.snapshot.nodes.items() if node.state != NodeState.REJECTED
        }
        # A node that has not answered yet may be slow; one that has failed has its own time.
        timeouts = limit if all(awaited.values()) else max(limit, FIRST_ANSWER_S)
        left = begun + timeouts - time.monotonic()
        if not awaited or left <= 0:
            break
        line = _waiting(awaited)
        if line != told and time.monotonic() - begun > TELL_AFTER_S:
            told = line
            tell(f"no node can be used yet. Waiting up to {left:.0f} s more for {line}")
        dispatcher.wait(lambda now: now.slots > 0, min(left, LOOK_EVERY_S))
    return bool(told)


def _waiting(awaited: dict[str, str]) -> str:
    """The nodes, those with the same reason together."""
    nodes: dict[str, list[str]] = {}
    for name, why in awaited.items():
        reason = (why.splitlines() or ["it has not answered"])[0].removeprefix(f"node {name}: ")
        nodes.setdefault(reason, []).append(name)
    lines = [f"{', '.join(names[:10])}{', ...' * (len(names) > 10)} ({reason})" for reason, names in nodes.items()]
    return "; ".join(lines[:10]) + "; ..." * (len(lines) > 10)


def check_jobs(workflow: Any, capacity: Capacity) -> None:
    """A job that no node can ever hold is an error (HarborError) now, not after hours of other work."""
    seen: set[Any] = set()
    for job in dag.jobs_for_nodes(workflow):
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
        refusal = capacity.refusal(spec.request)
        if refusal is not None:
            raise HarborError(f"rule {job.name}: {impossible_message(refusal)}", "harbor nodes")
