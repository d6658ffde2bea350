"""`harbor forget`: the user says that a silent node is dead, so its jobs start elsewhere at once."""

from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import AttemptLocation, JobState, NodeFacts, NodeState
from tests.core.pools import FACTS, IDLE, launched, make_pool, of, run_one, spec


def silent(*others):
    """Return a pool with a job on node a, which does not answer."""
    pool = make_pool("a", *others)
    assert run_one(pool).node == "a"
    pool.handle([ev.NodeDown("a", "gone")], 2.0)
    return pool


def forget(pool, now):
    return pool.handle([ev.NodeForgotten("a")], now)


def test_its_jobs_are_fenced_and_start_elsewhere_without_a_wait():
    pool = silent("b")
    assert not of(act.Prepare, forget(pool, 3.0))
    first = pool.handle([ev.Tick()], 4.0)
    assert of(act.Fence, first) == [act.Fence("run/1", 1)] and not of(act.Prepare, first)
    second = pool.handle([ev.Tick()], 5.0)
    again = launched(second)
    assert (again.node, again.attempt) == ("b", 2)
    assert "the user has given up the node" in next(c.reason for c in of(act.JobChanged, second))


def test_nothing_starts_before_the_fence_is_written():
    """A fence that comes late takes effect after --harbor-fence-wait, as every one that comes late."""
    pool = silent("b")
    forget(pool, 3.0)
    pool.handle([ev.Tick()], 4.0)
    assert not of(act.Prepare, pool.handle([ev.FenceResult("run/1", 1, written=False), ev.Tick()], 5.0))
    pool.handle([ev.FenceResult("run/1", 1, written=True), ev.Tick()], 6.0)
    assert launched(pool.handle([ev.Tick()], 16.0)).node == "b"


def test_a_fence_that_takes_effect_already_is_not_waited_for_any_longer():
    pool = silent("b")
    pool.handle([ev.Tick()], 103.0)
    assert pool.jobs["run/1"].fenced_at is not None
    assert not of(act.Prepare, pool.handle([ev.Tick()], 104.0))
    forget(pool, 105.0)
    assert launched(pool.handle([ev.Tick()], 106.0)).node == "b"


def test_it_works_although_no_other_node_proves_that_the_network_works():
    pool = silent()
    forget(pool, 3.0)
    pool.handle([ev.Tick()], 4.0)
    pool.handle([ev.Tick()], 5.0)
    assert pool.jobs["run/1"].state == JobState.QUEUED


def test_a_node_that_is_connected_keeps_its_jobs():
    pool = make_pool("a", "b")
    run_one(pool)
    assert not forget(pool, 3.0)
    assert not pool.nodes["a"].forgotten and pool.jobs["run/1"].state == JobState.RUNNING
    assert not pool.handle([ev.NodeForgotten("nowhere")], 4.0)


def test_when_it_answers_it_is_used_again_and_its_old_attempts_are_ended():
    pool = silent("b")
    forget(pool, 3.0)
    pool.handle([ev.Tick()], 4.0)
    pool.handle([ev.Tick()], 5.0)
    pool.nodes["a"].state = NodeState.CONNECTING
    record = ev.NodeRecord("run/1", 1, running=True, meta={"slots": [0]})
    actions = pool.handle([ev.NodeUp("a", replace(FACTS, boot_id="boot-a"), (record,))], 6.0)
    (message,) = of(act.SendMessage, actions)
    assert (message.node, message.message["t"], message.message["attempt"]) == ("a", "cancel", 1)
    assert not pool.nodes["a"].forgotten
    actions = pool.handle([ev.LoadMeasured("a", IDLE), ev.Submitted((spec("2", node="a"),))], 7.0)
    assert launched(actions).node == "a"


EARLIER = AttemptLocation("a", "host-a", "boot-a", "/scratch")


@pytest.mark.parametrize("location", [EARLIER, replace(EARLIER, fenced=True), None], ids=["note", "fenced", "unknown"])
def test_a_job_of_an_earlier_run_does_not_wait_for_it_any_longer(location):
    """Node a has not answered in this run, and may still run the job since an earlier one."""
    pool = make_pool("b")
    pool.handle([ev.HostListChanged((replace(pool.nodes["b"].spec, name="a", host="a"), pool.nodes["b"].spec))], 1.0)
    pool.handle([ev.NodeDown("a", "no route")], 2.0)
    locations = {"old/1": location} if location else {}
    job = replace(spec("1"), earlier_ids=("old/1",), locations=locations)
    pool.handle([ev.Submitted((job,))], 3.0)
    assert pool.jobs["run/1"].state == JobState.QUEUED
    actions = forget(pool, 10.0)
    if not (location and location.fenced):
        assert of(act.Fence, actions) == [act.Fence("old/1", None)]
    assert not of(act.Prepare, actions), "the fence is written first"
    actions = pool.handle([ev.Tick()], 11.0)
    if not (location and location.fenced):
        assert launched(actions).node == "b"


def test_an_attempt_that_is_being_ended_there_is_not_waited_for():
    pool = make_pool("a", "b")
    pool.nodes["a"].state = NodeState.CONNECTING
    record = ev.NodeRecord("old/1", 1, running=True, meta={"slots": [0]})
    pool.handle([ev.NodeUp("a", NodeFacts(cores=2, mem_mb=8000, boot_id="boot-a"), (record,))], 1.0)
    pool.handle([ev.Submitted((replace(spec("1"), earlier_ids=("old/1",)),))], 2.0)
    pool.handle([ev.NodeDown("a", "gone")], 3.0)
    assert pool.jobs["run/1"].blockers
    actions = forget(pool, 4.0)
    assert act.Fence("old/1", 1) in actions and not of(act.Prepare, actions)
    assert launched(pool.handle([ev.Tick()], 5.0)).node == "b"


def test_the_reason_of_a_job_that_waits_names_the_command_and_the_time():
    pool = make_pool("b")
    pool.handle([ev.HostListChanged((replace(pool.nodes["b"].spec, name="a", host="a"), pool.nodes["b"].spec))], 1.0)
    pool.handle([ev.NodeDown("a", "no route")], 2.0)
    pool.handle([ev.Submitted((replace(spec("1"), earlier_ids=("old/1",), locations={"old/1": EARLIER}),))], 3.0)
    pool.handle([ev.Tick()], 33.0)
    (group,) = pool.waiting.groups()
    assert str(group.reasons()["a"]).endswith("It waits 80 s more at most. If the node is dead, type: harbor forget a")
