"""The expected time to send inputs, and what placement makes of it."""

import os

from snakemake_executor_plugin_harbor.core.model import Load, NodeFacts, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.core.placement import BUSY_S, Placement, place
from snakemake_executor_plugin_harbor.core.policy import DEFAULTS
from snakemake_executor_plugin_harbor.jobs.locality import DEFAULT_BYTES_PER_S, Locality
from snakemake_executor_plugin_harbor.staging.model import Moved


def test_what_is_there_needs_no_time_and_the_pace_is_measured(tmp_path):
    large, small = tmp_path / "large", tmp_path / "small"
    size = int(DEFAULT_BYTES_PER_S)
    with large.open("wb") as f:
        f.truncate(size)
    small.write_text("x")
    inputs, nodes = [str(large), str(small)], ["ada", "eve"]
    locality = Locality()
    assert locality.seconds_to_send(inputs, nodes) == (("ada", 1.0), ("eve", 1.0))
    assert locality.seconds_to_send([str(small), str(tmp_path / "absent")], nodes) == ()
    locality.moved("ada", {str(large): size, str(small): 1}, Moved(2, size, 10.0))
    assert locality.seconds_to_send(inputs, nodes) == (("eve", 1.0),)
    os.utime(large, ns=(1, 1))
    assert locality.seconds_to_send(inputs, nodes) == (("eve", 1.0),), "Snakemake touches what jobs have made"
    other = tmp_path / "other"
    with other.open("wb") as f:
        f.truncate(size)
    assert locality.seconds_to_send([str(other)], nodes) == (("ada", 10.0), ("eve", 1.0)), "ada has a slow link"
    other.replace(large)
    assert locality.seconds_to_send(inputs, nodes) == (("ada", 10.0), ("eve", 1.0))


def node(name, busy):
    facts = NodeFacts(cores=4, mem_mb=4096, boot_id=name, staged=True)
    load = Load(busy=busy, mem_available_mb=4096, disk_free_mb=4096)
    return NodeView(NodeSpec(name, name), NodeState.READY, facts, load)


def test_bytes_count_against_load_on_one_scale():
    nodes = {"ada": node("ada", 2.0), "eve": node("eve", 0.0)}

    def chosen(**sending):
        placed = place(Request(sending=tuple(sending.items())), nodes, DEFAULTS, 0.0)
        assert isinstance(placed, Placement)
        return placed

    assert chosen().node == "eve", "it is idle"
    near = chosen(eve=0.6 * BUSY_S)
    assert near.node == "ada" and "best of 2 nodes" in near.why and "its inputs are there already" in near.why, (
        "half of ada's cores are busy"
    )
    far = chosen(eve=0.4 * BUSY_S)
    assert far.node == "eve" and "sent there in about 24 s" in far.why
