"""Describe and draw the state machines of jobs and nodes: `python docs/draw_states.py > docs/states.md`."""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum

from snakemake_executor_plugin_harbor.core.lifecycle import JOB, JOB_STATES, NODE, NODE_STATES, TERMINAL
from snakemake_executor_plugin_harbor.core.model import JobState, NodeState


def diagram(table: Mapping[tuple[StrEnum, str], StrEnum], first: StrEnum, last: frozenset[StrEnum]) -> str:
    """Return a Mermaid state diagram. Triggers with the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, trigger), after in table.items():
        arrows[(state.value, after.value)].append(trigger)
    lines = [f"  {one} --> {other}: {', '.join(triggers)}" for (one, other), triggers in arrows.items()]
    ends = [f"  {state.value} --> [*]" for state in type(first) if state in last]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"  [*] --> {first.value}", *lines, *ends, "```"])


def descriptions(states: Mapping[StrEnum, str]) -> str:
    """Return a table with the meaning of each state."""
    rows = [f"| {state.value} | {meaning} |" for state, meaning in states.items()]
    return "\n".join(["| state | meaning |", "|---|---|", *rows])


def page() -> str:
    """Return the whole page."""
    intro = "# States\n\n`docs/draw_states.py` makes this page from the tables in `core/lifecycle.py`."
    jobs = f"## Jobs\n\n{descriptions(JOB_STATES)}\n\n{diagram(JOB, JobState.QUEUED, TERMINAL)}"
    removed = frozenset({NodeState.REMOVED})
    nodes = f"## Nodes\n\n{descriptions(NODE_STATES)}\n\n{diagram(NODE, NodeState.OFFLINE, removed)}"
    return f"{intro}\n\n{jobs}\n\n{nodes}"


if __name__ == "__main__":
    print(page())
