"""Lost attempts are retried. A job fails if it is what makes its nodes fail."""

from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobState, NodeFacts, NodeState, Reservation
from tests.core.pools import FACTS, IDLE, launched, make_pool, of, outcome, run_one, spec


def run_on(pool, actions, now):
    launch = launched(actions)
    pool.handle([ev.Prepared(launch.job, launch.attempt)], now)
    pool.handle([ev.Started(launch.node, launch.job, launch.attempt)], now)
    return launch


@pytest.mark.parametrize("reason", ["shutdown", "unshared", "fenced", "cancelled"])
def test_what_a_job_cannot_have_caused_never_fails_it(reason):
    pool = make_pool("a", "b")
    actions, now = pool.handle([ev.Submitted((spec("1"),))], 1.0), 1.0
    for attempt in range(1, 8):
        launch = run_on(pool, actions, now)
        assert launch.attempt == attempt
        now += 100.0
        ended = ev.Exited(launch.node, launch.job, attempt, -15, reason)
        actions = pool.handle([ended, ev.LoadMeasured("a", IDLE), ev.LoadMeasured("b", IDLE), ev.Tick()], now)


def lose_all(pool, name, now):
    """A node reboots, and its jobs start again where a node has room. Return the actions of its reconnect."""
    for job in list(pool.jobs.values()):
        pool.handle([ev.Prepared(job.spec.id, job.attempt), ev.Started(job.node, job.spec.id, job.attempt)], now)
    pool.handle([ev.NodeDown(name, "closed")], now + 1)
    pool.handle([ev.Tick()], now + 70)
    facts = NodeFacts(cores=2, mem_mb=8000, boot_id=f"boot-{now}")
    actions = pool.handle([ev.NodeUp(name, facts), ev.LoadMeasured(name, IDLE)], now + 71)
    return actions + pool.handle([ev.Tick(), ev.LoadMeasured(name, IDLE)], now + 80)


def test_a_job_fails_if_it_was_there_whenever_a_node_went_down():
    pool = make_pool("a", "b", "c")
    pool.handle([ev.Submitted((spec("killer"),))], 1.0)
    now = 1.0
    for loss in (1, 2, 3):
        actions = lose_all(pool, pool.jobs["run/killer"].node, now)
        now += 100
        assert bool(of(act.JobEnded, actions)) == (loss == 3)
    assert "lost 3 times" in outcome(actions).reason


def test_a_job_outlives_more_losses_where_nodes_go_down_all_the_time():
    pool = make_pool("a", "b", "c", "d")
    pool.handle([ev.Submitted(tuple(spec(str(n), cores=2) for n in range(4)))], 1.0)
    now, unlucky = 1.0, "run/0"
    for _ in range(5):
        for name in sorted({job.node for job in pool.jobs.values()}):
            actions = lose_all(pool, name, now)
            assert not of(act.JobEnded, actions)
            now += 100
    assert pool.jobs[unlucky].times_lost == 5


def test_a_job_that_stalls_on_three_nodes_fails_however_often_nodes_go_down():
    pool = make_pool("a", "b", "c", "d", stall_after=50, kill_stalled=True)
    pool.handle([ev.Submitted(tuple(spec(str(n), cores=2) for n in range(4)))], 1.0)
    now = 1.0
    for name in ("a", "b", "c", "d"):
        lose_all(pool, name, now)
        now += 100
    pool.handle([ev.Submitted((spec("stuck"),))], now)
    stalls = []
    for _ in range(3):
        for job in list(pool.jobs.values()):
            pool.handle([ev.Prepared(job.spec.id, job.attempt), ev.Started(job.node, job.spec.id, job.attempt)], now)
            pool.handle([ev.AttemptsActive(job.node, ((job.spec.id, job.attempt),))], now)
        free = [job for job in pool.jobs.values() if job.spec.id != "run/stuck"]
        for job in free[:1]:
            pool.handle([ev.Exited(job.node, job.spec.id, job.attempt, 0, None)], now)
        stuck = pool.jobs["run/stuck"]
        if stuck.state == JobState.QUEUED:
            pool.handle([ev.Tick(), *(ev.LoadMeasured(n, IDLE) for n in "abcd")], now)
        pool.handle([ev.Prepared("run/stuck", stuck.attempt)], now)
        pool.handle([ev.Started(stuck.node, "run/stuck", stuck.attempt)], now)
        now += 60
        stalls += of(act.JobStalled, pool.handle([ev.Tick()], now))
        actions = pool.handle([ev.Exited(stuck.node, "run/stuck", stuck.attempt, -15, "cancelled")], now)
    assert any("no output" in settle.outcome.reason for settle in of(act.JobEnded, actions))
    assert [stall.last for stall in stalls if stall.job == "run/stuck"] == [False, False, True]


def test_a_node_that_leaves_starts_unanswered_gets_one_job_at_a_time_until_it_answers():
    pool = make_pool("a", cores=4)
    pool.handle([ev.Submitted(tuple(spec(str(n)) for n in range(4)))], 1.0)
    pool.handle([ev.Prepared(f"run/{n}", 1) for n in range(4)], 1.0)
    assert of(act.Reconnect, pool.handle([ev.Tick()], 122.0))
    pool.handle([ev.NodeDown("a", "cut")], 123.0)
    pool.handle([ev.Tick()], 125.0)
    actions = pool.handle([ev.NodeUp("a", NodeFacts(4, 8000, boot_id="boot-a")), ev.LoadMeasured("a", IDLE)], 126.0)
    assert pool.nodes["a"].state == NodeState.QUARANTINED and not of(act.Prepare, actions)
    only = launched(pool.handle([ev.Tick(), ev.LoadMeasured("a", IDLE)], 190.0))
    assert "one at a time" in next(job.refusal for job in pool.queue()).reasons["a"]
    pool.handle([ev.Prepared(only.job, only.attempt)], 190.0)
    assert len(of(act.Prepare, pool.handle([ev.Started("a", only.job, only.attempt)], 191.0))) == 3


@pytest.mark.parametrize(
    ("started", "boot_id", "fenced"), [(False, "boot-a", True), (True, "boot-a", False), (False, "new", False)]
)
def test_a_start_that_may_still_be_on_its_way_is_fenced(started, boot_id, fenced):
    pool = make_pool("a", "b")
    launch = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    assert launch.node == "a"
    pool.handle([ev.Prepared("run/1", 1)], 1.0)
    if started:
        pool.handle([ev.Started("a", "run/1", 1)], 1.0)
    pool.handle([ev.NodeDown("a", "closed")], 2.0)
    pool.handle([ev.Tick()], 4.0)
    actions = pool.handle([ev.NodeUp("a", NodeFacts(2, 8000, boot_id=boot_id))], 5.0)
    assert bool(of(act.Fence, actions)) == fenced
    assert pool.jobs["run/1"].attempt == 2


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("adopted", [True, False])
def test_the_next_attempt_waits_for_the_fence_unless_the_lost_one_has_a_directory_of_its_own(staged, adopted):
    """`make_pool` gives a node up after 100 s, and the fence takes effect after 10 s."""
    pool = make_pool("a", "b")
    facts = {name: replace(FACTS, boot_id=name, shared=not staged, staged=staged) for name in "ab"}
    for name in "ab":
        pool.handle([ev.NodeDown(name, "closed")], 0.0)
        pool.handle([ev.Tick()], 2.0)
        pool.handle([ev.NodeUp(name, facts[name]), ev.LoadMeasured(name, IDLE)], 2.0)
    if adopted:
        reservation = Reservation((0,))
        taken = ev.Adopted("run/1", 1, "a", reservation, staged=staged)
        pool.handle([ev.Submitted((spec("1"),)), taken], 3.0)
        node = "a"
    else:
        node = run_one(pool, now=3.0).node
    pool.handle([ev.NodeDown(node, "closed")], 5.0)
    other = "b" if node == "a" else "a"

    def begun(until):
        events = [ev.Tick(), ev.LoadMeasured(other, IDLE)]
        return [launch for now in range(6, until) for launch in of(act.Prepare, pool.handle(events, float(now)))]

    assert not begun(105)
    assert [launch.node for launch in begun(108)] == ([other] if staged else [])
    assert [launch.node for launch in begun(120)] == ([] if staged else [other])
