"""Time limits, the host list, drained nodes, and nodes that have not answered."""

from dataclasses import replace

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.job import LOST_REASONS
from snakemake_executor_plugin_harbor.core.model import (
    JobState,
    Load,
    NodeFacts,
    NodeSpec,
    NodeState,
    Reservation,
)
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts
from tests.core.pools import FACTS, make_pool, of, outcome, run_one, spec


def test_a_job_without_a_sign_of_life_is_warned_of_once_and_again_after_the_next_sign():
    pool = make_pool("a", "b", stall_after=50)
    launch = run_one(pool)
    assert not of(act.JobStalled, pool.handle([ev.Tick()], 50.0))
    assert of(act.JobStalled, pool.handle([ev.Tick()], 51.0)) == [act.JobStalled(launch.job, launch.node, 50, False)]
    assert not of(act.JobStalled, pool.handle([ev.Tick()], 52.0))
    assert pool.jobs[launch.job].why == "no output and no progress for 50 s"
    (change,) = of(act.JobChanged, pool.handle([ev.AttemptsActive(launch.node, ((launch.job, 1),))], 60.0))
    assert (change.state, change.reason) == (JobState.RUNNING, "it shows output or progress again")
    assert not of(act.JobStalled, pool.handle([ev.Tick()], 109.0))
    assert of(act.JobStalled, pool.handle([ev.Tick()], 110.0))


def test_a_stalled_job_is_killed_and_tried_elsewhere():
    pool = make_pool("a", "b", stall_after=50, kill_stalled=True)
    launch = run_one(pool)
    actions = pool.handle([ev.Tick()], 51.0)
    assert of(act.JobStalled, actions)[0].killed
    assert [a.message["t"] for a in of(act.SendMessage, actions)] == ["cancel"]
    (again,) = of(act.Prepare, pool.handle([ev.Exited(launch.node, launch.job, 1, -15, "cancelled")], 52.0))
    assert again.attempt == 2 and again.node != launch.node


def test_a_rule_can_have_a_patience_of_its_own():
    pool = make_pool("a", stall_after=50)
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((replace(spec("1"), stall_after=5),))], 1.0))
    pool.handle([ev.Prepared(launch.job, 1)], 1.0)
    pool.handle([ev.Started("a", launch.job, 1)], 1.0)
    assert of(act.JobStalled, pool.handle([ev.Tick()], 6.0))


def test_a_start_that_is_never_answered_has_the_connection_made_anew():
    pool = make_pool("a")
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((spec("1"),))], 1.0))
    pool.handle([ev.Prepared(launch.job, 1)], 1.0)
    assert not of(act.Reconnect, pool.handle([ev.Tick()], 100.0))
    assert of(act.Reconnect, pool.handle([ev.Tick()], 122.0)) == [act.Reconnect("a")]


def test_a_drained_node_gets_nothing_until_it_is_resumed():
    pool = make_pool("a")
    run_one(pool, "1")
    pool.handle([ev.DrainChanged("a", "new disk"), ev.Submitted((spec("2"),))], 2.0)
    assert pool.jobs["run/2"].refusal.reasons == {"a": "is drained: new disk"} and pool.slots() == 0
    assert not of(act.JobEnded, pool.handle([ev.Tick()], 3.0)), "what runs goes on, what waits waits"
    assert of(act.Prepare, pool.handle([ev.DrainChanged("a", "")], 4.0))


def test_hosts_that_are_added_join_and_those_taken_out_leave_when_their_jobs_have_ended():
    pool = make_pool("a")
    run_one(pool, "1")
    actions = pool.handle([ev.HostListChanged((NodeSpec("b", "b"),))], 2.0)
    assert [a.node.name for a in of(act.Connect, actions)] == ["b"] and "a" in pool.nodes
    facts = NodeFacts(cores=2, mem_mb=8000, boot_id="boot-b")
    pool.handle(
        [ev.NodeUp("b", facts), ev.LoadMeasured("b", Load(mem_available_mb=8000)), ev.Submitted((spec("2"),))], 3.0
    )
    assert pool.jobs["run/2"].node == "b"
    actions = pool.handle([ev.Exited("a", "run/1", 1, 0, None)], 4.0)
    assert of(act.Disconnect, actions) == [act.Disconnect("a")] and list(pool.nodes) == ["b"]


def test_an_entry_that_is_edited_leaves_and_joins_again_without_failing_the_jobs_that_wait_for_it():
    pool = make_pool("a", cores=1)
    run_one(pool, "1")
    pool.handle([ev.Submitted((spec("2", node="a"),))], 2.0)
    assert not of(act.JobEnded, pool.handle([ev.HostListChanged((NodeSpec("a", "elsewhere"),))], 3.0))
    actions = pool.handle([ev.Exited("a", "run/1", 1, 0, None)], 4.0)
    assert [a.node.host for a in of(act.Connect, actions)] == ["elsewhere"] and "run/2" in pool.jobs


def test_slots_are_edited_without_a_new_connection():
    pool = make_pool("a", cores=1)
    run_one(pool, "1")
    pool.handle([ev.Submitted((spec("2"),))], 2.0)
    actions = pool.handle([ev.HostListChanged((NodeSpec("a", "a", slots=2),))], 3.0)
    assert of(act.Prepare, actions) and not of(act.Connect, actions)


def test_a_node_that_was_rejected_is_tried_again_by_an_edit_or_resume():
    for event in (ev.HostListChanged((NodeSpec("a", "a"), NodeSpec("b", "b"))), ev.DrainChanged("b", "")):
        pool = make_pool("a", "b")
        pool.handle([ev.NodeDown("b", "closed")], 1.0)
        pool.handle([ev.Tick()], 3.0)
        pool.handle([ev.NodeDown("b", "wrong key", permanent=True)], 4.0)
        assert [a.node.name for a in of(act.Connect, pool.handle([event], 5.0))] == ["b"]


def silent_pool():
    """Return a pool in which `a` has answered and `b` has not."""
    pool = Pool([NodeSpec("a", "a"), NodeSpec("b", "b")], timeouts=Timeouts(lost_after=100, fence_wait=10))
    pool.connect_all()
    pool.handle([ev.NodeUp("a", FACTS), ev.LoadMeasured("a", Load(mem_available_mb=8000)), ev.NodeDown("b", "x")], 0.0)
    return pool


def test_what_a_silent_node_may_still_run_waits_for_it_and_is_adopted():
    pool = silent_pool()
    assert not of(act.Prepare, pool.handle([ev.Submitted((replace(spec("1"), earlier_ids=("old/7",)),))], 1.0))
    assert "may still run it" in pool.jobs["run/1"].refusal.reasons["b"]
    pool.handle([ev.Tick()], 2.0)
    known = ev.NodeRecord("old/7", 3, running=True, meta={"slots": [0]})
    adopted = ev.Adopted("old/7", 3, "b", Reservation((0,)), submitted_as="run/1")
    actions = pool.handle([ev.NodeUp("b", replace(FACTS, boot_id="c"), (known,)), adopted], 3.0)
    assert of(act.JobRenamed, actions) == [act.JobRenamed("old/7", "run/1")] and not of(act.Prepare, actions)
    assert outcome(pool.handle([ev.Exited("b", "old/7", 3, 0, None)], 4.0)).job == "old/7"


def test_what_a_silent_node_may_still_run_starts_when_that_node_knows_nothing_of_it():
    pool = silent_pool()
    pool.handle([ev.Submitted((replace(spec("1"), earlier_ids=("old/7",)),)), ev.Tick()], 2.0)
    assert of(act.Prepare, pool.handle([ev.NodeUp("b", replace(FACTS, boot_id="c"))], 3.0))


def test_what_a_silent_node_may_still_run_is_fenced_and_starts_elsewhere():
    pool = silent_pool()
    pool.handle([ev.Submitted((replace(spec("1"), earlier_ids=("old/7",)),))], 1.0)
    actions = pool.handle([ev.Tick()], 101.0)
    assert of(act.Fence, actions) == [act.Fence("old/7", None)] and not of(act.Prepare, actions)
    assert of(act.Prepare, pool.handle([ev.Tick()], 111.0))


def test_an_end_by_a_controllers_will_says_nothing_of_the_job():
    for reason in LOST_REASONS:
        pool = make_pool("a", "b")
        launch = run_one(pool)
        actions = pool.handle([ev.Exited(launch.node, launch.job, 1, -15, reason)], 2.0)
        assert of(act.Prepare, actions)[0].attempt == 2, reason
        forget = {"t": "forget", "job": launch.job, "attempt": 1}
        assert act.SendMessage(launch.node, forget) in actions, "its record is of no more use"


def test_a_full_disk_keeps_jobs_away_until_there_is_room():
    pool = make_pool("a")
    pool.handle([ev.Submitted((spec("1"),))], 1.0)
    pool.handle([ev.Prepared("run/1", 1)], 1.0)
    assert not of(act.Prepare, pool.handle([ev.Refused("a", "run/1", 1, "disk", "no space left")], 2.0))
    assert "of scratch free" in pool.jobs["run/1"].refusal.reasons["a"]
    assert pool.nodes["a"].state == NodeState.READY, "a full disk is no misbehaviour"
    room = ev.LoadMeasured("a", Load(mem_available_mb=8000, disk_free_mb=100))
    assert of(act.Prepare, pool.handle([room], 3.0))
