"""The tables of states and transitions are complete."""

from snakemake_executor_plugin_harbor.core.lifecycle import (
    HOLDING,
    JOB,
    JOB_STATES,
    NODE,
    NODE_STATES,
    TERMINAL,
    job_next,
    node_next,
)
from snakemake_executor_plugin_harbor.core.model import JobState, NodeState


def test_each_state_has_a_sentence():
    assert set(JOB_STATES) == set(JobState) and set(NODE_STATES) == set(NodeState)
    for meaning in (*JOB_STATES.values(), *NODE_STATES.values()):
        assert meaning.endswith(".") and meaning[0].isupper()


def test_each_state_can_be_entered():
    assert {JobState.QUEUED, *JOB.values()} == set(JobState)
    assert {NodeState.OFFLINE, *NODE.values()} == set(NodeState)


def test_each_state_can_be_left_or_is_terminal():
    for table, terminal in ((JOB, TERMINAL), (NODE, {NodeState.REMOVED})):
        sources = {state for state, _ in table}
        assert set(table.values()) - sources == set(terminal)
    assert HOLDING.isdisjoint(TERMINAL)


def test_an_unknown_trigger_changes_nothing():
    assert job_next(JobState.SUCCEEDED, "started") is None
    assert node_next(NodeState.REMOVED, "connect") is None
