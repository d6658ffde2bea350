"""Attempts of earlier runs: no job starts beside one of them, and every job starts in the end."""

from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import (
    AttemptLocation,
    JobSpec,
    JobState,
    Load,
    NodeFacts,
    NodeSpec,
    Request,
    Reservation,
)
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts

LOST_AFTER, FENCE_WAIT = 100.0, 10.0
OLD = "old/7"
RUNS = ev.NodeRecord(OLD, 1, running=True, meta={"slots": [0]})


def facts(name, boot="", scratch="/scratch"):
    return NodeFacts(cores=2, mem_mb=8000, boot_id=boot or f"boot-{name}", host=f"host-{name}", scratch=scratch)


def place(name, **changes):
    found = facts(name)
    return replace(AttemptLocation(name, found.host, found.boot_id, found.scratch), **changes)


def up(name, *known, **changes):
    return [ev.NodeUp(name, facts(name, **changes), known), ev.LoadMeasured(name, Load(mem_available_mb=8000))]


def make_pool(answered="a", silent="", known=()):
    """Return a pool with nodes that have answered and nodes that have not. The first node lists the records `known`."""
    pool = Pool([NodeSpec(n, n) for n in answered + silent], timeouts=Timeouts(LOST_AFTER, FENCE_WAIT))
    pool.connect_all()
    for index, name in enumerate(answered):
        pool.handle(up(name, *(known if index == 0 else ())), 0.0)
    pool.handle([ev.NodeDown(name, "no route") for name in silent], 0.0)
    return pool


def again(id="run/1", earlier_ids=OLD, at=None):
    """Return the event for a job that an earlier run started under these ids."""
    locations = {} if at is None else {earlier_ids: at}
    return ev.Submitted((JobSpec(id, Request(), earlier_ids=(earlier_ids,), locations=locations),))


def of(kind, actions):
    return [action for action in actions if isinstance(action, kind)]


def cancels(actions):
    return [(a.node, a.message["job"]) for a in of(act.SendMessage, actions) if a.message["t"] == "cancel"]


def why(pool, id="run/1"):
    return pool.jobs[id].refusal.reasons


# --- what no node lists -------------------------------------------------------------------------------------


def test_a_place_that_has_answered_needs_no_wait_but_a_fence():
    actions = make_pool("a").handle([again(at=place("a"))], 1.0)
    assert of(act.Fence, actions) == [act.Fence(OLD, None)]
    assert of(act.Prepare, actions), "a start message on its way is refused there"
    assert actions.index(act.Fence(OLD, None)) < actions.index(of(act.Prepare, actions)[0])


@pytest.mark.parametrize(
    "there",
    [place("gone"), place("a", scratch="/other"), place("localhost", host="laptop", boot_id="x"), AttemptLocation()],
    ids=["host taken out", "other scratch", "other controller", "unknown"],
)
def test_what_ran_where_nobody_can_be_asked_is_fenced_at_once_and_waited_for(there):
    pool = make_pool("a")
    actions = pool.handle([again(at=there)], 1.0)
    assert of(act.Fence, actions) == [act.Fence(OLD, None)] and not of(act.Prepare, actions)
    assert "--harbor-fence-wait" in why(pool)["every node"]
    assert not of(act.Prepare, pool.handle([ev.Tick()], FENCE_WAIT))
    assert of(act.Prepare, pool.handle([ev.Tick()], FENCE_WAIT + 1.0))


def test_a_machine_that_was_rebooted_runs_nothing():
    pool = make_pool("a")
    assert of(act.Prepare, pool.handle([again(at=place("a", boot_id="before"))], 1.0))


def test_another_machine_of_that_name_is_no_answer():
    pool = make_pool("a")
    assert not of(act.Prepare, pool.handle([again(at=place("a", boot_id="x", host="another"))], 1.0))


def test_a_node_under_another_name_is_recognised_by_its_host_name():
    assert of(act.Prepare, make_pool("a").handle([again(at=place("a", node="alias"))], 1.0))


def test_a_silent_node_holds_back_only_what_ran_there():
    pool = make_pool("a", "b")
    actions = pool.handle([again(at=place("b")), again("run/2", "old/8", at=place("a"))], 1.0)
    assert [launch.job for launch in of(act.Prepare, actions)] == ["run/2"]
    assert "does not answer" in why(pool)["b"]
    actions = pool.handle([ev.Tick()], 1.0 + LOST_AFTER)
    assert of(act.Fence, actions) == [act.Fence(OLD, None)] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 1.0 + LOST_AFTER + FENCE_WAIT))


def test_what_was_fenced_by_its_own_run_waits_only_for_the_fence():
    pool = make_pool("a", "b")
    actions = pool.handle([again(at=place("b", fenced=True))], 1.0)
    assert of(act.Fence, actions) and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 1.0 + FENCE_WAIT))


def test_a_silent_node_that_answers_with_another_scratch_is_no_answer():
    pool = make_pool("a", "b")
    pool.handle([again(at=place("b")), ev.Tick()], 1.0)
    actions = pool.handle(up("b", scratch="/other"), 2.0)
    assert of(act.Fence, actions) and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 2.0 + FENCE_WAIT))


@pytest.mark.parametrize("known", [place("b"), None], ids=["known place", "unknown place"])
def test_a_silent_node_that_is_taken_out_of_the_list_is_not_waited_for(known):
    pool = make_pool("a", "b")
    pool.handle([again(at=known)], 1.0)
    assert "b" in why(pool)
    pool.handle([ev.HostListChanged((NodeSpec("a", "a"),))], 2.0)
    actions = pool.handle([ev.Tick()], 3.0)
    assert of(act.Fence, actions) == [act.Fence(OLD, None)] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 3.0 + FENCE_WAIT))


def test_cancelling_a_job_that_waits_for_a_silent_node_fences_what_may_run_there():
    pool = make_pool("a", "b")
    pool.handle([again(at=place("b"))], 1.0)
    assert of(act.Fence, pool.handle([ev.CancelAll(3.0)], 2.0)) == [act.Fence(OLD, None)]
    assert of(act.Fence, pool.handle([again("run/2", at=place("b"))], 3.0)), "also one that comes later"


# --- what a node lists --------------------------------------------------------------------------------------


def test_an_edited_job_waits_for_the_end_of_its_old_version():
    pool = make_pool("a", known=[RUNS])
    actions = pool.handle([again(at=place("a"))], 1.0)
    assert cancels(actions) == [("a", OLD)] and not of(act.Prepare, actions) and not of(act.Fence, actions)
    assert "writes the same outputs" in why(pool)["a"]
    assert not of(act.Prepare, pool.handle([ev.Tick()], 1000.0)), "however long that takes"
    actions = pool.handle([ev.Exited("a", OLD, 1, -15, "cancelled")], 1001.0)
    assert of(act.Prepare, actions)
    assert act.SendMessage("a", {"t": "forget", "job": OLD, "attempt": 1}) in actions


def test_an_edited_job_waits_for_its_old_version_on_a_node_that_answers_late():
    pool = make_pool("a", "b")
    pool.handle([again(at=place("b"))], 1.0)
    pool.handle([ev.Tick()], 2.0)
    actions = pool.handle(up("b", RUNS), 3.0)
    assert cancels(actions) == [("b", OLD)] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.AttemptUnknown("b", OLD, 1)], 4.0))


def test_what_is_adopted_in_the_same_batch_is_left_alone():
    pool = make_pool("a", "b")
    pool.handle([again(at=place("b"))], 1.0)
    pool.handle([ev.Tick()], 2.0)
    adopted = ev.Adopted(OLD, 1, "b", Reservation((0,)), submitted_as="run/1")
    actions = pool.handle([*up("b", RUNS), adopted], 3.0)
    assert not cancels(actions) and not of(act.Fence, actions)
    assert pool.jobs[OLD].state == JobState.RUNNING
    actions = pool.handle([ev.Exited("b", OLD, 1, 0, None)], 4.0)
    assert of(act.JobEnded, actions)[0].outcome.state == JobState.SUCCEEDED


def test_a_job_that_runs_is_not_held_up_by_an_old_version_that_turns_up_after_its_fence():
    pool = make_pool("a", "b")
    pool.handle([again(at=place("b"))], 1.0)
    pool.handle([ev.Tick()], 1.0 + LOST_AFTER)
    (launch,) = of(act.Prepare, pool.handle([ev.Tick()], 1.0 + LOST_AFTER + FENCE_WAIT))
    pool.handle([ev.Prepared("run/1", 1), ev.Started(launch.node, "run/1", 1)], 112.0)
    assert cancels(pool.handle(up("b", RUNS), 113.0)) == [("b", OLD)]
    assert pool.jobs["run/1"].state == JobState.RUNNING


def test_what_is_being_ended_on_a_node_that_goes_away_is_fenced():
    pool = make_pool("ab", known=[RUNS])
    pool.handle([again(at=place("a"))], 1.0)
    pool.handle([ev.NodeDown("a", "closed")], 2.0)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 50.0))
    actions = pool.handle([ev.Tick()], 2.0 + LOST_AFTER)
    assert of(act.Fence, actions) == [act.Fence(OLD, 1)] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 2.0 + LOST_AFTER + FENCE_WAIT))


def test_what_is_being_ended_on_a_node_that_comes_back_is_ended_again():
    pool = make_pool("ab", known=[RUNS])
    pool.handle([again(at=place("a"))], 1.0)
    pool.handle([ev.NodeDown("a", "closed"), ev.Tick()], 2.0)
    pool.handle([ev.Tick()], 4.0)
    actions = pool.handle(up("a", RUNS), 5.0)
    assert cancels(actions) == [("a", OLD)] and not of(act.Prepare, actions)
    pool.handle([ev.NodeDown("a", "closed")], 6.0)
    pool.handle([ev.Tick()], 9.0)
    assert of(act.Prepare, pool.handle(up("a"), 10.0)), "it does not know it any more"


def test_an_ended_record_holds_nothing_up():
    ended = replace(RUNS, running=False, exit={"code": -15, "reason": "cancelled"})
    actions = make_pool("a", known=[ended]).handle([again(at=AttemptLocation())], 1.0)
    assert of(act.Prepare, actions) and not of(act.Fence, actions)


def test_an_own_attempt_that_was_given_up_and_runs_after_all_is_waited_for():
    pool = make_pool("ab")
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((JobSpec("run/1", Request(node="a")),))], 1.0))
    pool.handle([ev.Prepared("run/1", 1), ev.Started(launch.node, "run/1", 1), ev.NodeDown("a", "closed")], 2.0)
    pool.handle([ev.Tick()], 2.0 + LOST_AFTER)
    pool.handle([ev.DrainChanged("a", "why"), ev.Tick()], 2.0 + LOST_AFTER + FENCE_WAIT)
    assert pool.jobs["run/1"].state == JobState.QUEUED
    actions = pool.handle([*up("a", ev.NodeRecord("run/1", 1, running=True)), ev.DrainChanged("a", "")], 120.0)
    assert cancels(actions) == [("a", "run/1")] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Exited("a", "run/1", 1, -15, "cancelled")], 121.0))


# --- fences -------------------------------------------------------------------------------------------------


def test_a_job_of_this_run_waits_for_a_fence_that_cannot_be_written():
    pool = make_pool("ab")
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((JobSpec("run/1", Request()),))], 1.0))
    pool.handle([ev.Prepared("run/1", 1), ev.Started(launch.node, "run/1", 1)], 1.0)
    pool.handle([ev.NodeDown(launch.node, "closed")], 2.0)
    assert of(act.Fence, pool.handle([ev.Tick()], 102.0))
    pool.handle([ev.FenceResult("run/1", 1, written=False)], 102.1)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 500.0))
    pool.handle([ev.FenceResult("run/1", 1, written=True)], 501.0)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 510.0)), "its time counts from the write"
    assert of(act.Prepare, pool.handle([ev.Tick()], 512.0))


def test_a_job_of_an_earlier_run_waits_for_a_fence_that_cannot_be_written():
    pool = make_pool("a")
    pool.handle([again(at=AttemptLocation())], 1.0)
    pool.handle([ev.FenceResult(OLD, None, written=False)], 1.1)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 500.0))
    assert "cannot be written" in why(pool)["every node"]
    pool.handle([ev.FenceResult(OLD, None, written=True)], 501.0)
    assert not of(act.Prepare, pool.handle([ev.Tick()], 510.0))
    assert of(act.Prepare, pool.handle([ev.Tick()], 511.0))


def test_whoever_leaves_fences_what_did_not_answer():
    pool = make_pool("ab")
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((JobSpec("run/1", Request()),))], 1.0))
    pool.handle([ev.Prepared("run/1", 1), ev.Started(launch.node, "run/1", 1), ev.CancelAll(3.0)], 2.0)
    assert of(act.Fence, pool.handle([ev.FenceAll()], 11.0)) == [act.Fence("run/1", 1)]


# --- ends that are known without a node ---------------------------------------------------------------------


def test_the_end_of_a_job_on_a_node_that_has_left_the_list_is_taken_in():
    pool = make_pool("a")
    adopted = ev.Adopted(OLD, 1, "gone", Reservation(()), {"code": 0, "reason": None}, submitted_as="run/1")
    actions = pool.handle([again(at=place("gone")), adopted], 1.0)
    (settled,) = of(act.JobEnded, actions)
    assert (settled.outcome.job, settled.outcome.state) == (OLD, JobState.SUCCEEDED) and not of(act.Prepare, actions)


def test_what_runs_on_a_node_that_has_left_the_list_cannot_be_adopted():
    pool = make_pool("a")
    pool.handle([again(at=place("gone")), ev.Adopted(OLD, 1, "gone", Reservation(()), None, submitted_as="run/1")], 1.0)
    assert pool.jobs["run/1"].state == JobState.QUEUED
