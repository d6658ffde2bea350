"""Refused starts are the fault of the node or of the job. Retries end in each case."""

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, Load, NodeState, Request
from tests.core.pools import IDLE, launched, make_pool, of, outcome, run_one, spec


def refuse(pool, launch, kind, now, reason="", path=None):
    """Send the prepared attempt and refuse it. Return the actions that follow."""
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
