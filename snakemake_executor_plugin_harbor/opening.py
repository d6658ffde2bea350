"""Before the first job: nodes that answer, and jobs that some node can hold."""

from typing import Any

from .core.jobs import impossible
from .core.model import NodeState
from .core.placement import forever
from .core.pool import Pool
from .errors import HarborError
from .jobspec import progress_pattern, spec_of
from .run.dispatcher import Dispatcher

FIRST_ANSWER_S = 60.0
"""How long a node may take to answer at the start before the run goes on without it."""
STRAGGLER_S = 3.0
"""With one node ready, how long the others are waited for."""


def await_nodes(dispatcher: Dispatcher, workflow: Any, unfinished: bool) -> str:
    """Return, once nodes are ready, a line that names them. `unfinished`: an earlier run may have left jobs on nodes.
    Raises HarborError with each node's reason if none can be used.
    """
    dispatcher.wait(lambda: dispatcher.nodes_settled() or dispatcher.slots > 0, FIRST_ANSWER_S)
    if not dispatcher.nodes_settled():
        # What a slow node still runs must not be started twice. Jobs with outputs have markers, and wait for it.
        unmarked = any(not job.is_local and not list(job.output) for job in workflow.dag.needrun_jobs())
        dispatcher.wait(dispatcher.nodes_settled, FIRST_ANSWER_S if unfinished and unmarked else STRAGGLER_S)
    states = dispatcher.reasons()
    if not dispatcher.slots:
        reasons = "\n".join(f"  {name}: {why or state.value}" for name, (state, why) in states.items())
        raise HarborError(f"no node of the pool can be used:\n{reasons}", "harbor doctor")
    ready = [name for name, (state, _) in states.items() if state == NodeState.READY]
    shown = ", ".join(ready[:20]) + (", ..." if len(ready) > 20 else "")
    return f"{len(ready)} of {len(states)} nodes ready, {dispatcher.slots} slots: {shown}"


def check_jobs(workflow: Any, pool: Pool) -> None:
    """A job that no node can ever hold is an error (HarborError) now, not after hours of other work."""
    seen: set[Any] = set()
    for job in workflow.dag.needrun_jobs():
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
        refusal = forever(spec.request, dict(pool.nodes), pool.policy)
        if refusal is not None:
            raise HarborError(f"rule {job.name}: {impossible(refusal)}", "harbor nodes")
