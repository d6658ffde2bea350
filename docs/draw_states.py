"""Draw the state machines of jobs and nodes from their tables: `python docs/draw_states.py > docs/states.md`."""

from collections import defaultdict
from enum import StrEnum

from snakemake_executor_plugin_harbor.core.lifecycle import JOB, NODE, TERMINAL
from snakemake_executor_plugin_harbor.core.model import JobState, NodeState


def diagram(table: dict[tuple[StrEnum, str], StrEnum], first: StrEnum, last: frozenset[StrEnum]) -> str:
    """A Mermaid state diagram; triggers with the same way share an arrow."""
    ways: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, trigger), after in table.items():
        ways[(state.value, after.value)].append(trigger)
    lines = [f"  {one} --> {other}: {', '.join(triggers)}" for (one, other), triggers in ways.items()]
    ends = [f"  {state.value} --> [*]" for state in type(first) if state in last]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"  [*] --> {first.value}", *lines, *ends, "```"])


def page() -> str:
    jobs = diagram(JOB, JobState.QUEUED, TERMINAL)
    nodes = diagram(NODE, NodeState.OFFLINE, frozenset({NodeState.REMOVED}))
    intro = "# States\n\nDrawn by `docs/draw_states.py` from the tables in `core/lifecycle.py`."
    return f"{intro}\n\n## Jobs\n\n{jobs}\n\n## Nodes\n\n{nodes}"


if __name__ == "__main__":
    print(page())
