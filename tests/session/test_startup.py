"""The checks before the first job, with real nodes and real workflows."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from snakemake_executor_plugin_harbor import common_settings
from snakemake_executor_plugin_harbor.core.capacity import Capacity
from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec, NodeState
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs.ranks import Ranks
from snakemake_executor_plugin_harbor.run.snapshot import Snapshot
from snakemake_executor_plugin_harbor.session import startup
from snakemake_executor_plugin_harbor.session.startup import check_jobs, wait_for_nodes

NOTHING = SimpleNamespace(dag=SimpleNamespace(needrun_jobs=lambda: []))
REFUSED = "bob@127.0.0.1:1"


def wait(run, **more):
    lines = []
    how = {"unfinished": False, "lost_after": 120.0, "info": lines.append, **more}
    return wait_for_nodes(run.dispatcher, NOTHING, **how), lines


def test_ready_nodes_are_listed(start):
    line, _ = wait(start("3/localhost"))
    assert line == "1 of 1 nodes ready, 3 slots: localhost"


def test_a_pool_without_a_usable_node_is_an_error_with_the_reasons(start, monkeypatch):
    monkeypatch.setattr(startup, "BOOTING_S", 3.0)
    monkeypatch.setattr(startup, "REPORT_AFTER_S", 0.5)
    run, begun, lines = start(REFUSED), time.monotonic(), []
    with pytest.raises(HarborError, match="no node of the pool can be used") as caught:
        wait_for_nodes(run.dispatcher, NOTHING, False, 120.0, lines.append)
    assert time.monotonic() - begun >= 3.0
    assert "  127.0.0.1: 127.0.0.1 port 1 refuses connections" in str(caught.value)
    assert "Try: harbor doctor" in str(caught.value)
    assert lines and "no node can be used yet. Waiting up to" in lines[0] and "127.0.0.1" in lines[0]


def test_after_an_unfinished_run_nodes_are_waited_for_as_long_as_for_lost_ones(start, monkeypatch):
    monkeypatch.setattr(startup, "BOOTING_S", 0.1)
    run, begun = start(REFUSED), time.monotonic()
    with pytest.raises(HarborError):
        wait(run, unfinished=True, lost_after=3.0)
    assert time.monotonic() - begun >= 3.0


def test_one_ready_node_is_enough(start, monkeypatch):
    monkeypatch.setattr(startup, "STRAGGLER_S", 0.2)
    line, _ = wait(start("1/localhost", REFUSED))
    assert line.startswith("1 of 2 nodes ready, 1 slots: localhost")


def test_too_few_nodes_are_waited_for_and_then_an_error_that_names_those_that_are_missing(start, monkeypatch):
    """Without --harbor-nnodes, one ready node is enough. An unfinished run had its nodes, so it goes on."""
    monkeypatch.setattr(startup, "BOOTING_S", 2.0)
    monkeypatch.setattr(startup, "REPORT_AFTER_S", 0.5)
    run, lines = start("1/localhost", REFUSED), []
    run.dispatcher.wait(Snapshot.all_nodes_answered, 30)
    begun = time.monotonic()
    with pytest.raises(HarborError) as caught:
        wait(run, info=lines.append, nnodes=2)
    assert time.monotonic() - begun >= 2.0
    assert str(caught.value).startswith("--harbor-nnodes 2: 1 node is missing:\n  127.0.0.1: 127.0.0.1 port 1 refuses")
    assert "Try: harbor doctor   # or use fewer nodes: --harbor-nnodes 1" in str(caught.value)
    assert "only 1 of 2 nodes can be used yet. Waiting up to" in lines[0] and "refuses connections" in lines[0]
    assert wait(run, nnodes=2, unfinished=True)[0] == "1 of 2 nodes ready, 1 slots: localhost"


def test_too_few_nodes_that_cannot_come_up_are_an_error_at_once(start):
    run, begun = start("1/localhost", "no-such-host.invalid", REFUSED), time.monotonic()
    with pytest.raises(HarborError, match=r"--harbor-nnodes 3: 2 nodes are missing:\n  no-such-host.invalid: "):
        wait(run, nnodes=3)
    assert time.monotonic() - begun < startup.BOOTING_S / 2


def test_a_first_node_that_is_lost_again_is_waited_for(start, monkeypatch):
    """Found by the soak: the run ended with an error when its only ready node was lost while it waited for others."""
    monkeypatch.setattr(startup, "STRAGGLER_S", 1.0)

    def lose():
        while time.monotonic() < until:
            if run.dispatcher.snapshot.slots:
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if process.name().startswith("harbor-"):
                            process.kill()
            time.sleep(0.01)

    with silent_server() as port:
        run = start("3/localhost", f"bob@127.0.0.1:{port}")
        until = time.monotonic() + 2.5
        losing = threading.Thread(target=lose)
        losing.start()
        line, _ = wait(run)
        losing.join()
        assert time.monotonic() >= until - 0.1 and line.startswith("1 of 2 nodes ready, 3 slots: localhost")


@contextlib.contextmanager
def silent_server():
    """A server that accepts connections and never sends anything. Yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_nodes_with_the_same_reason_are_listed_together():
    reasons = {"ada": "node ada: no route", "bob": "node bob: no route", "eve": ""}
    assert startup._group_by_reason(reasons) == "ada, bob (no route); eve (it has not answered)"


# --- jobs -------------------------------------------------------------------------------------------------------

FLOW = """
    rule all:
        input: "a", "b"

    rule small:
        output: "a"
        shell: "touch {output}"

    rule big:
        output: "b"
        resources: {resource}
        shell: "touch {output}"
"""


@pytest.fixture
def read(load):
    """Reads the workflow with a resource of rule `big`. Its jobs are for harbor's nodes."""

    def workflow(resource):
        found = load(FLOW.replace("{resource}", resource))
        found._executor_plugin = SimpleNamespace(common_settings=common_settings)
        found.dag._finished.clear()  # the dry run has "finished" all jobs
        return found

    return workflow


def capacity():
    facts = NodeFacts(cores=2, mem_mb=8000, boot_id="x")
    return Capacity([NodeView(NodeSpec("ada", "ada", tags=frozenset({"fast"})), NodeState.READY, facts=facts)])


@pytest.mark.parametrize("resource", ["mem_mb=1000", "constraint='fast'", "mem_mb=lambda wildcards: 7000"])
def test_jobs_that_may_fit_pass(read, resource):
    check_jobs(read(resource), capacity())


def test_ranks_that_have_no_place_are_an_error_before_any_job(read):
    check_jobs(read("rank=1"), capacity(), Ranks(["ada"], 2))
    for rank, per_node, text in (
        (2, 2, "the ranks are 0 to 1"),
        (2, 3, "ranks run side by side, and 3 of them need 3"),
    ):
        with pytest.raises(HarborError, match="rule big: ") as caught:
            check_jobs(read(f"rank={rank}"), capacity(), Ranks(["ada"], per_node))
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("mem_mb=9000", "ada"),
        ("gpu=1", "ada"),
        ("constraint='slow'", "slow"),
        ("node='grace'", "grace"),
        ("progress='one group (x)'", "two, done and total"),
    ],
)
def test_a_job_that_fits_nowhere_is_an_error_with_its_rule(read, resource, reason):
    with pytest.raises(HarborError, match="rule big: ") as caught:
        check_jobs(read(resource), capacity())
    assert reason in str(caught.value)
