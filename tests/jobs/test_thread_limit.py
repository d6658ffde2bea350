"""Threads are limited to the largest node before anything is computed from them."""

import logging

import pytest

from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec, NodeState
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.jobs.thread_limit import ThreadLimit, largest_node

RULE = """
    rule one:
        output: "one"
        threads: {threads}
        resources: mem_mb=lambda wildcards, threads: 10 * threads
        params: t=lambda wildcards, threads: threads
        shell: "touch {{output}}"

    rule small:
        output: "small"
        threads: 2
        shell: "touch {{output}}"

    rule here:
        input: "one", "small"
        output: "here"
        localrule: True
        threads: 30
        shell: "touch {{output}}"

    rule all:
        default_target: True
        input: "here"
"""


def node(name, slots=None, cores=None, state=NodeState.READY):
    facts = None if cores is None else NodeFacts.__new__(NodeFacts)
    if facts is not None:
        object.__setattr__(facts, "cores", cores)
    return NodeView(NodeSpec(name, name, slots=slots), state, facts)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("a", cores=8), node("b", cores=4)], 8),
        ([node("a", cores=8), node("b", slots=16, cores=4)], 16),
        ([node("a", cores=8), node("b", state=NodeState.CONNECTING)], None),
        ([node("a", cores=8), node("b", slots=32, state=NodeState.CONNECTING)], 32),
        ([node("a", cores=8), node("b", cores=64, state=NodeState.REJECTED)], 8),
        ([], None),
    ],
)
def test_the_largest_node_is_known_only_when_no_other_can_be_larger(nodes, expected):
    assert largest_node(nodes) == expected


@pytest.mark.parametrize("threads", ["20", "lambda wildcards: 20", "lambda wildcards, attempt: 20 * attempt"])
@pytest.mark.parametrize("cores", [None, 64])
@pytest.mark.parametrize("computed", [True, False])
def test_everything_follows_the_limit(load, caplog, threads, cores, computed, monkeypatch):
    workflow = load(RULE.format(threads=threads), cores=cores)
    jobs = {job.rule.name: job for job in workflow.dag.jobs}
    before = {name: job.threads for name, job in jobs.items()}
    assert before["one"] == 20 and jobs["one"].params.t == 20 and jobs["one"].resources.mem_mb == 200
    _as_remote(workflow, monkeypatch)
    if not computed:
        for job in jobs.values():
            job._resources = None
    logger = logging.getLogger("cut")
    with caplog.at_level("WARNING"):
        ThreadLimit(workflow, 8, logger)
        one = jobs["one"]
        assert (one.threads, one.params.t, one.resources.mem_mb) == (8, 8, 80)
        one.attempt = 2
        assert one.threads == 8
    assert jobs["small"].threads == 2 and jobs["here"].threads == before["here"]
    lines = [record.getMessage() for record in caplog.records if record.name == "cut"]
    assert lines == ["harbor: one: 20 threads are reduced to 8, the slots of the largest node."]


def _as_remote(workflow, monkeypatch):
    """As in a run: jobs of rules that are not local go to nodes. (A dry run, which has ended, read the workflow.)"""
    monkeypatch.setattr(type(workflow), "local_exec", property(lambda self: False))
    workflow.dag._finished.clear()
