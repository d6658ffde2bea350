"""Lines in Snakemake's log about nodes and about jobs that seem to hang."""

from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec, NodeState
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight, InFlightJob
from snakemake_executor_plugin_harbor.session.notices import Notices


class Scene:
    def __init__(self):
        self.lines = []
        self.nodes = {}
        self.in_flight = InFlight()
        logger = SimpleNamespace(
            info=lambda text: self.lines.append(("info", text)),
            warning=lambda text: self.lines.append(("warning", text)),
        )
        self.notices = Notices(logger, self.in_flight, lambda: self.nodes)

    def node(self, state, why=""):
        """Node ada changes; the new lines."""
        before = len(self.lines)
        self.notices.notify(act.NodeChanged("ada", state, why))
        return self.lines[before:]


@pytest.fixture
def scene():
    return Scene()


def test_a_node_that_fails_and_comes_back_is_reported_once(scene):
    assert not scene.node(NodeState.READY)
    (line,) = scene.node(NodeState.BACKOFF, "node ada: no route")
    assert line == ("warning", "harbor: node ada is not used (backoff): no route")
    assert not scene.node(NodeState.CONNECTING) and not scene.node(NodeState.BACKOFF, "node ada: no route")
    assert len(scene.node(NodeState.BACKOFF, "another reason")) == 1
    assert scene.node(NodeState.READY) == [("info", "harbor: node ada is back")]
    assert len(scene.node(NodeState.BACKOFF, "no route")) == 1, "it failed again"


def test_a_node_of_the_start_has_not_joined_but_a_later_one_has(scene):
    assert not scene.node(NodeState.READY), "the line about the start names it"
    scene.notices.run_started()
    assert not scene.node(NodeState.READY)
    assert scene.node(NodeState.REMOVED) == [("info", "harbor: node ada has left the pool")]
    assert scene.node(NodeState.READY) == [("info", "harbor: node ada has joined")]


def test_more_memory_than_the_machine_has_is_reported_once(scene):
    view = scene.nodes["ada"] = NodeView(NodeSpec("ada", "ada", mem_mb=64_000), NodeState.READY)
    scene.notices.report_waiting([], 0.0)
    view.facts = NodeFacts(cores=2, mem_mb=16_000)
    (line,) = scene.node(NodeState.READY)
    assert "gives node ada 64000 MiB of memory, but it has only 16000 MiB" in line[1]
    scene.notices.report_waiting([], 1.0)
    view.spec = NodeSpec("ada", "ada", mem_mb=8_000)
    scene.notices.report_waiting([], 2.0)
    assert len(scene.lines) == 1


def test_a_machine_under_two_names_is_reported_once(scene):
    def view(name, boot_id, quota=False):
        facts = NodeFacts(cores=2, mem_mb=16_000, boot_id=boot_id, quota=quota)
        scene.nodes[name] = NodeView(NodeSpec(name, name), NodeState.READY, facts)

    for name, boot_id, quota in (("ada", "1", False), ("bob", "2", False), ("eve", "1", False), ("ivy", "2", True)):
        view(name, boot_id, quota)
    scene.notices.run_started()
    ((level, line),) = scene.lines
    assert level == "warning" and line.startswith("harbor: ada, eve are one machine under 2 names.")
    assert len(scene.node(NodeState.READY)) == 1, "it has joined"
    view("zoe", "2")
    (line,) = scene.node(NodeState.READY)
    assert "bob, zoe are one machine" in line[1]


@pytest.mark.parametrize(
    ("killed", "last", "text"),
    [(True, False, "killed and retried"), (True, True, "killed and fails, because"), (False, False, "It may be stuck")],
)
def test_a_stalled_job_is_reported_with_what_follows(scene, killed, last, text):
    stalled = act.JobStalled("run/7", "ada", 120.0, killed, last)
    scene.notices.notify(stalled)
    assert not scene.lines, "Snakemake knows no such job any more"
    job = SimpleNamespace(jobid=7, name="align", is_group=lambda: False)
    scene.in_flight.add(InFlightJob(job, "run/7", "", None))
    scene.notices.notify(stalled)
    ((level, line),) = scene.lines
    assert level == "warning" and text in line
    assert line.startswith("harbor: job 7 (align) on ada: no output and no progress for 120 s. ")
