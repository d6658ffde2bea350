"""Whose fault it is: the node's, the job's, or the network's; and that each has an end."""

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.job_table import Timeouts
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, Load, NodeFacts, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.pool import Pool
from tests.core.test_pool import make_pool, of, outcome, run_one, spec

IDLE = Load(mem_available_mb=8000)
LOST_AFTER, FENCE_WAIT = 100.0, 10.0


def launched(actions):
    (launch,) = of(act.Prepare, actions)
    return launch


def refuse(pool, launch, kind, now, reason="", path=None):
    """The launched attempt is sent and refused; the actions that follow."""
    pool.handle([ev.Prepared(launch.job, launch.attempt)], now)
    return pool.handle([ev.Refused(launch.node, launch.job, launch.attempt, kind, reason, path)], now)


# --- refusals that belong to the job -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["job", "error"])
def test_a_job_that_no_node_can_start_fails_with_the_reason_after_three_tries(kind):
    pool = make_pool("a", "b", "c", "d")
    actions = pool.handle([ev.Submitted((spec("1"),))], 1.0)
    tried = set()
    for _ in range(3):
        launch = launched(actions)
        tried.add(launch.node)
        actions = refuse(pool, launch, kind, 2.0, "embedded null byte")
    done = outcome(actions)
    assert done.state == JobState.FAILED and "embedded null byte" in done.reason and "3 tries" in done.reason
    assert len(tried) == 3, "each time on another node"
    assert {node.state for node in pool.nodes.values()} == {NodeState.READY}, "no node is blamed for one job"


def test_other_jobs_run_on_a_node_that_refuses_one_again_and_again():
    pool = make_pool("a")
    for number in range(1, 5):
        actions = pool.handle([ev.Submitted((spec(f"bad{number}"),))], 1.0)
        for _ in range(3):
            actions = refuse(pool, launched(actions), "job", 1.0, "embedded null byte")
        assert outcome(actions).state == JobState.FAILED
    assert launched(pool.handle([ev.Submitted((spec("good"),))], 2.0)).node == "a"


def test_a_job_that_one_node_cannot_start_runs_on_another():
    pool = make_pool("a", "b")
    first = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    second = launched(refuse(pool, first, "error", 2.0, "odd"))
    assert {first.node, second.node} == {"a", "b"}


# --- refusals that belong to the node ------------------------------------------------------------------------


def test_errors_of_several_jobs_quarantine_the_node():
    pool = make_pool("a", cores=8)
    for number in (1, 2, 3):
        launch = launched(pool.handle([ev.Submitted((spec(str(number)),))], 1.0))
        actions = refuse(pool, launch, "error", 1.0, "odd")
    assert pool.nodes["a"].state == NodeState.QUARANTINED
    assert not of(act.JobEnded, actions), "the job waits for another chance"


def test_a_full_process_table_quarantines_the_node_and_the_job_runs_afterwards():
    pool = make_pool("a")
    actions, now = pool.handle([ev.Submitted((spec("1"),))], 1.0), 1.0
    for _ in range(10):
        now += 1.0
        actions = refuse(pool, launched(actions), "fork", now)
        if not of(act.Prepare, actions):
            assert pool.nodes["a"].state == NodeState.QUARANTINED
            now += 61.0
            actions = pool.handle([ev.Tick(), ev.LoadMeasured("a", IDLE)], now)
    assert launched(actions).node == "a", "the job never failed for it"


def test_a_node_that_refuses_all_starts_as_given_up_gets_no_endless_row_of_them():
    pool = make_pool("a")
    actions = pool.handle([ev.Submitted((spec("1"),))], 1.0)
    now, starts = 1.0, 0
    while now < 20.0:
        if of(act.Prepare, actions):
            starts += 1
            actions = refuse(pool, launched(actions), "fenced", now)
        else:
            now += 1.0
            actions = pool.handle([ev.Tick(), ev.LoadMeasured("a", IDLE)], now)
    assert starts <= 3 and pool.nodes["a"].state == NodeState.QUARANTINED


def test_refusals_between_jobs_that_end_are_not_in_a_row():
    pool = make_pool("a")
    for number in range(1, 7):
        launch = launched(pool.handle([ev.Submitted((spec(f"bad{number}"),))], 1.0))
        again = launched(refuse(pool, launch, "fork", 1.0))
        pool.handle([ev.Prepared(again.job, again.attempt), ev.Started("a", again.job, again.attempt)], 1.0)
        pool.handle([ev.Exited("a", again.job, again.attempt, 0, None)], 2.0)
    assert pool.nodes["a"].state == NodeState.READY


def test_a_refused_job_goes_to_another_node_though_the_same_is_still_the_emptiest():
    pool = make_pool("a", "b")
    pool.handle([ev.LoadMeasured("b", Load(busy=0.5, mem_available_mb=8000))], 1.0)
    first = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    assert first.node == "a"
    assert launched(refuse(pool, first, "fork", 1.0)).node == "b"


def test_a_path_that_a_job_found_before_may_come_back():
    pool = make_pool("a")
    needy = Request(needs=("/opt/py",))
    first = launched(pool.handle([ev.Submitted((JobSpec("run/1", needy),))], 1.0))
    pool.handle([ev.Prepared(first.job, 1), ev.Started("a", first.job, 1)], 1.0)
    pool.handle([ev.Exited("a", first.job, 1, 0, None)], 2.0)
    actions = pool.handle([ev.Submitted((JobSpec("run/2", needy),))], 3.0)
    now = 3.0
    for _ in range(6):
        now += 1.0
        actions = refuse(pool, launched(actions), "missing", now, path="/opt/py")
        assert not of(act.JobEnded, actions), "a mount that is away is no end"
        if not of(act.Prepare, actions):
            now += 61.0
            actions = pool.handle([ev.Tick(), ev.LoadMeasured("a", IDLE)], now)
    assert launched(actions).node == "a"


def test_a_path_that_was_never_there_makes_the_node_infeasible_even_if_the_job_did_not_name_it():
    pool = make_pool("a", "b")
    first = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    second = launched(refuse(pool, first, "missing", 1.0, path="/bin/zsh"))
    done = outcome(refuse(pool, second, "missing", 1.0, path="/bin/zsh"))
    assert done.reason.count("has no /bin/zsh") == 2


# --- the working directory is gone -----------------------------------------------------------------------------


def losing(how, launch):
    return {
        "sample": ev.LoadMeasured("a", Load(mem_available_mb=8000, shared=False)),
        "refused": ev.Refused("a", launch.job, 1, "unshared"),
        "exited": ev.Exited("a", launch.job, 1, 1, "unshared"),
    }[how]


@pytest.mark.parametrize("how", ["sample", "refused", "exited"])
def test_a_node_that_lost_the_working_directory_gets_no_job_until_it_is_back(how):
    pool = make_pool("a")
    launch = launched(pool.handle([ev.Submitted((spec("1"),))], 1.0))
    pool.handle([ev.Prepared("run/1", 1)], 1.0)
    if how != "refused":
        pool.handle([ev.Started("a", "run/1", 1)], 1.0)
    actions = pool.handle([losing(how, launch)], 2.0)
    assert not of(act.JobEnded, actions)
    assert pool.nodes["a"].state == NodeState.UNUSABLE and "working directory" in pool.nodes["a"].why
    assert pool.slots() == 0
    assert not of(act.Prepare, pool.handle([ev.Submitted((spec("2"),))], 3.0))
    assert of(act.Prepare, pool.handle([ev.LoadMeasured("a", IDLE)], 4.0)), "the directory is back"
    assert pool.nodes["a"].state == NodeState.READY


def test_what_ended_is_taken_from_a_node_without_the_working_directory():
    pool = make_pool("a")
    launch = run_one(pool)
    pool.handle([ev.NodeDown("a", "closed"), ev.Tick()], 2.0)
    pool.handle([ev.Tick()], 4.0)
    record = ev.NodeRecord(launch.job, 1, running=False, exit={"code": 0, "reason": None})
    actions = pool.handle([ev.NodeUp("a", pool.nodes["a"].facts, (record,), unusable="not mounted")], 5.0)
    assert outcome(actions).state == JobState.SUCCEEDED
    assert pool.nodes["a"].state == NodeState.UNUSABLE and pool.nodes["a"].why == "not mounted"


def test_waiting_jobs_are_not_impossible_while_a_node_has_lost_the_working_directory():
    pool = make_pool("a")
    pool.handle([ev.LoadMeasured("a", Load(mem_available_mb=8000, shared=False))], 1.0)
    assert not of(act.JobEnded, pool.handle([ev.Submitted((spec("1"),))], 2.0))


# --- lost attempts ---------------------------------------------------------------------------------------------


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
    """A node reboots; its jobs start again where there is room. The actions of its return."""
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
    assert "lost on 3 nodes" in outcome(actions).reason


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
        pool.handle([ev.Tick()], now)
        actions = pool.handle([ev.Exited(stuck.node, "run/stuck", stuck.attempt, -15, "cancelled")], now)
    assert any("no output" in settle.outcome.reason for settle in of(act.JobEnded, actions))


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


# --- the network -------------------------------------------------------------------------------------------------


def far_pool(boot_id="here", near=("localhost",), far=("a", "b")):
    """A pool with the controller's own machine, under several names, and others."""
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
    """Our own machine proves nothing without SSH; over SSH it does as long as no other machine is known."""
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


# --- fences and reconnects, one rule a test ----------------------------------------------------------------------


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
    """Seconds from each failure until the pool connects again."""
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
