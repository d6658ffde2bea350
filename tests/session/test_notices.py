"""Lines about nodes in Snakemake's log."""

from types import SimpleNamespace

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeState
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight
from snakemake_executor_plugin_harbor.session.notices import Notices
from tests.waiting_scene import node


def test_more_memory_than_the_machine_has_is_said_once():
    lines = []
    view = NodeView(node("ada", mem_mb=64_000), NodeState.READY)
    notices = Notices(SimpleNamespace(warning=lines.append), InFlight(), lambda: {"ada": view})
    notices.report_waiting([], 0.0)
    view.facts = NodeFacts(cores=2, mem_mb=16_000)
    notices.notify(act.NodeChanged("ada", NodeState.READY, ""))
    notices.report_waiting([], 1.0)
    (line,) = lines
    assert "gives node ada 64000 MiB of memory, but it has only 16000 MiB" in line
    view.spec = node("ada", mem_mb=8_000)
    notices.report_waiting([], 2.0)
    assert len(lines) == 1
