"""The network fails: evidence that it works, fences, and the pauses between connections."""

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, Load, NodeFacts, NodeSpec, Request
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts
from tests.core.pools import IDLE, make_pool, of, run_one, spec

LOST_AFTER, FENCE_WAIT = 100.0, 10.0


def far_pool(boot_id="here", near=("localhost",), far=("a", "b")):
    """Return a pool with the controller's own machine under several names, and with other machines."""
    nodes = [NodeSpec(name=n, host=n, local=n == "localhost") for n in near] + [NodeSpec(n, n) for n in far]
    pool = Pool(nodes, timeouts=Timeouts(LOST_AFTER, FENCE_WAIT), boot_id=boot_id)
    pool.connect_all()
    for n in (*near, *far):
        facts = NodeFacts(cores=2, mem_mb=8000, boot_id=boot_id if n in near else f"boot-{n}")
        pool.handle([ev.NodeUp(n, facts), ev.LoadMeasured(n, IDLE)], 0.0)
    return pool


def run_pinned(pool, node):
    pool.handle([ev.Submitted((JobSpec("run/1", Request(node=node)),))], 1.0)
    pool.handle([ev.Prepared("run/1", 1)], 1.0)
    pool.handle([ev.Started(node, "run/1", 1)], 1.0)


def pass_time(pool, start, seconds):
    actions = []
    for now in range(int(start), int(start + seconds), 5):
        actions += pool.handle([ev.Tick()], float(now))
    return actions


@pytest.mark.parametrize("near", [("localhost",), ("localhost", "myself"), ("myself",)])
def test_the_controllers_own_machine_is_no_evidence_that_the_network_works(near):
    pool = far_pool(near=near)
    run_pinned(pool, "a")
    pool.handle([ev.NodeDown("a", "silent"), ev.NodeDown("b", "silent")], 2.0)
    assert not of(act.Fence, pass_time(pool, 3, 4000)), "the laptop's Wi-Fi may be off"
    pool.handle([ev.NodeUp("b", NodeFacts(2, 8000, boot_id="boot-b"))], 4003.0)
    assert of(act.Fence, pass_time(pool, 4004, LOST_AFTER + 10)), "b answers and a does not: it is a"


def test_a_pool_on_one_machine_has_no_other_evidence():
    pool = far_pool(near=("myself", "me"), far=())
    run_pinned(pool, "me")
    pool.handle([ev.NodeDown("me", "silent")], 2.0)
    assert of(act.Fence, pass_time(pool, 3, LOST_AFTER + 10))


@pytest.mark.parametrize(("near", "fenced"), [(("localhost",), False), (("myself",), True)])
def test_a_machine_that_has_never_answered_may_be_cut_off_or_dead(near, fenced):
    """The controller's own machine proves nothing without SSH. Over SSH it proves that the network works, as long as no
    other machine is known.
    """
    pool = Pool(
        [NodeSpec(n, n, local=n == "localhost") for n in near] + [NodeSpec("a", "a")],
        timeouts=Timeouts(LOST_AFTER, FENCE_WAIT),
        boot_id="here",
    )
    pool.connect_all()
    pool.handle([ev.NodeUp(near[0], NodeFacts(2, 8000, boot_id="here")), ev.LoadMeasured(near[0], IDLE)], 0.0)
    pool.handle([ev.NodeDown("a", "silent"), ev.Submitted((JobSpec("run/1", Request(), earlier_ids=("old/1",)),))], 1.0)
    assert bool(of(act.Fence, pass_time(pool, 2, 3 * LOST_AFTER))) == fenced


def test_the_user_gives_a_node_up_by_taking_it_out_of_the_host_list():
    pool = far_pool(far=("a",))
    pool.handle([ev.Submitted((spec("1"), spec("2"), spec("3"), spec("4")))], 1.0)
    pool.handle([ev.Prepared(f"run/{n}", 1) for n in (1, 2, 3, 4)], 1.0)
    on_a = [job.spec.id for job in pool.jobs.values() if job.node == "a"]
    pool.handle([ev.NodeDown("a", "silent")], 2.0)
    assert not of(act.Fence, pass_time(pool, 3, 1000))
    pool.handle([ev.HostListChanged((pool.nodes["localhost"].spec,))], 1003.0)
    actions = pass_time(pool, 1004, 5) + pass_time(pool, 1009, FENCE_WAIT + 6)
    assert {fence.job for fence in of(act.Fence, actions)} == set(on_a)
    assert all(pool.jobs[id].state in (JobState.QUEUED, JobState.PLACED) for id in on_a), "they run elsewhere"
    assert "a" not in pool.nodes


def fences(actions):
    return [(fence.job, fence.attempt) for fence in of(act.Fence, actions)]


def test_an_unreachable_job_that_is_cancelled_is_fenced():
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown(launch.node, "silent")], 2.0)
    assert fences(pool.handle([ev.CancelJob(launch.job)], 3.0)) == [(launch.job, 1)]


def test_a_job_that_is_being_cancelled_is_fenced_when_its_link_breaks():
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.CancelJob(launch.job)], 2.0)
    assert fences(pool.handle([ev.NodeDown(launch.node, "silent")], 3.0)) == [(launch.job, 1)]


def test_a_job_that_waits_for_a_silent_node_is_fenced_when_it_is_cancelled():
    pool = Pool([NodeSpec("a", "a"), NodeSpec("b", "b")], timeouts=Timeouts(LOST_AFTER, FENCE_WAIT))
    pool.connect_all()
    pool.handle([ev.NodeUp("a", NodeFacts(2, 8000, boot_id="boot-a")), ev.LoadMeasured("a", IDLE)], 0.0)
    pool.handle([ev.Submitted((JobSpec("run/1", Request(), earlier_ids=("old/1",)),))], 1.0)
    assert ("old/1", None) in fences(pool.handle([ev.CancelAll(1.0)], 2.0))


@pytest.mark.parametrize("event", [ev.NodeDown("a", "closed"), ev.LoadMeasured("a", Load(shared=False))])
def test_what_was_prepared_for_a_node_that_is_gone_by_then_is_not_sent(event):
    pool = make_pool("a")
    pool.handle([ev.Submitted((spec("1"),))], 1.0)
    pool.handle([event], 2.0)
    actions = pool.handle([ev.Prepared("run/1", 1)], 3.0)
    assert not of(act.SendStart, actions) and pool.jobs["run/1"].state == JobState.QUEUED


def pauses(pool, name, start, count, steady=0.0):
    """Return the seconds from each failure until the pool connects again."""
    found, now = [], start
    for _ in range(count):
        pool.handle([ev.NodeDown(name, "closed")], now)
        failed = now
        while not of(act.Connect, pool.handle([ev.Tick()], now)):
            now += 0.5
        found.append(now - failed)
        if steady:
            pool.handle([ev.NodeUp(name, NodeFacts(2, 8000, boot_id=f"boot-{name}"))], now)
            now += steady
    return found


def test_the_pauses_between_attempts_to_connect_grow():
    found = pauses(make_pool("a"), "a", 10.0, 6)
    assert found == sorted(found) and found[-1] >= 10 * found[0]


def test_a_connection_that_lasts_resets_the_pauses_and_a_short_one_does_not():
    assert set(pauses(make_pool("a"), "a", 100.0, 5, steady=100.0)) == {1.0}
    assert pauses(make_pool("a"), "a", 100.0, 5, steady=1.0)[-1] > 5.0
