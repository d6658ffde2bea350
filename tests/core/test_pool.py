"""The reactor: scenarios of events and the actions that follow, and its invariants under any order of events."""

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import (
    JobSpec,
    JobState,
    Load,
    NodeState,
    Request,
    Reservation,
)
from tests.core.pools import FACTS, make_pool, of, outcome, run_one, spec


def test_a_job_from_submission_to_success():
    pool = make_pool("a")
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((spec("1"),))], 1.0))
    assert pool.jobs["run/1"].state == JobState.PLACED
    assert of(act.SendStart, pool.handle([ev.Prepared("run/1", 1)], 1.0)) == [act.SendStart("run/1", 1, "a")]
    pool.handle([ev.Started("a", "run/1", 1)], 1.0)
    done = outcome(pool.handle([ev.Exited("a", "run/1", 1, 0, None, {"start": 1, "end": 4})], 4.0))
    assert (done.state, done.node, done.attempt) == (JobState.SUCCEEDED, launch.node, 1)
    assert not pool.jobs and not pool.nodes["a"].reservations
    assert pool.durations.expected("r") == 3


def test_an_exit_code_is_the_jobs_fault():
    pool = make_pool("a")
    for number, (code, reason) in enumerate(
        {3: "exit code 3", 127: "exit code 127 (usually: command not found)"}.items()
    ):
        launch = run_one(pool, str(number))
        done = outcome(pool.handle([ev.Exited("a", launch.job, 1, code, None)], 2.0))
        assert done.state == JobState.FAILED and done.reason == reason


def test_what_a_part_of_harbor_says_in_the_output_of_a_job_is_in_the_reason():
    pool = make_pool("a")
    launch = run_one(pool, "1")
    tail = "harbor: first\nharbor: why\x1b[1m " + "x" * 9000 + "\nthe end\n"
    done = outcome(pool.handle([ev.Exited("a", launch.job, 1, 1, None, {"tail": tail})], 2.0))
    assert done.reason.startswith("exit code 1: why\N{REPLACEMENT CHARACTER}[1m xx") and len(done.reason) < 600


def test_a_job_waits_for_a_slot_and_takes_it_at_once():
    pool = make_pool("a", cores=1)
    run_one(pool, "1")
    assert not of(act.Prepare, pool.handle([ev.Submitted((spec("2"),))], 2.0))
    assert "slots free" in pool.jobs["run/2"].refusal.reasons["a"]
    assert of(act.Prepare, pool.handle([ev.Exited("a", "run/1", 1, 0, None)], 3.0))[0].job == "run/2"


def test_a_job_that_no_node_can_hold_fails_with_every_reason():
    done = outcome(make_pool("a", "b").handle([ev.Submitted((spec("1", cores=9),))], 1.0))
    assert done.state == JobState.FAILED
    assert "a has 2 slots" in done.reason and "b has 2 slots" in done.reason


def test_priority_then_length_then_depth():
    pool = make_pool("a", cores=1)
    run_one(pool, "0")
    pool.durations.add("long", 100)
    jobs = (
        JobSpec("run/1", Request(), rule="r"),
        JobSpec("run/2", Request(), rule="r", depth=5),
        JobSpec("run/3", Request(), rule="long"),
        JobSpec("run/4", Request(), rule="r", priority=1),
    )
    pool.handle([ev.Submitted(jobs)], 1.0)
    assert [job.spec.id for job in pool.queue()] == ["run/4", "run/3", "run/2", "run/1"]


def test_a_dropped_link_is_not_a_failure():
    pool = make_pool("a")
    launch = run_one(pool)
    actions = pool.handle([ev.NodeDown("a", "closed")], 2.0)
    assert pool.jobs[launch.job].state == JobState.UNREACHABLE
    assert not of(act.JobEnded, actions)
    assert of(act.Connect, pool.handle([ev.Tick()], 3.0))
    pool.handle([ev.NodeUp("a", pool.nodes["a"].facts, (ev.NodeRecord(launch.job, 1, running=True),))], 3.0)
    assert pool.jobs[launch.job].state == JobState.RUNNING


def test_what_ended_while_we_were_away_is_taken_from_hello():
    pool = make_pool("a")
    launch = run_one(pool)
    pool.handle([ev.NodeDown("a", "closed")], 1.0)
    pool.handle([ev.Tick()], 2.0)
    known = ev.NodeRecord(launch.job, 1, running=False, exit={"code": 0, "reason": None})
    done = outcome(pool.handle([ev.NodeUp("a", pool.nodes["a"].facts, (known,))], 3.0))
    assert done.state == JobState.SUCCEEDED


def test_a_node_that_does_not_know_the_job_lost_it():
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown(launch.node, "closed")], 1.0)
    pool.handle([ev.Tick()], 2.0)
    facts = pool.nodes[launch.node].facts
    (again,) = of(act.Prepare, pool.handle([ev.NodeUp(launch.node, facts)], 3.0))
    assert again.attempt == 2 and again.node != launch.node


def test_a_reboot_is_called_by_its_name():
    """The node has a record without an end. The node alone cannot tell whether agent and guardian were killed."""
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown(launch.node, "closed")], 1.0)
    pool.handle([ev.Tick()], 2.0)
    known = ev.NodeRecord(launch.job, 1, running=False, exit={"code": -9, "reason": "lost"})
    actions = pool.handle([ev.NodeUp(launch.node, FACTS, (known,))], 3.0)
    assert of(act.Prepare, actions)[0].attempt == 2
    assert "the node was rebooted" in next(a.reason for a in of(act.JobChanged, actions) if a.state == JobState.QUEUED)
    assert act.SendMessage(launch.node, {"t": "forget", "job": launch.job, "attempt": 1}) in actions


def test_an_unreachable_job_is_fenced_then_requeued_and_its_old_attempt_ends():
    pool = make_pool("a", "b")
    launch = run_one(pool)
    other = "b" if launch.node == "a" else "a"
    pool.handle([ev.NodeDown(launch.node, "closed")], 2.0)
    actions = pool.handle([ev.Tick()], 102.0)
    assert of(act.Fence, actions) == [act.Fence(launch.job, 1)]
    assert not of(act.Prepare, actions), "the fence needs its time"
    (again,) = of(act.Prepare, pool.handle([ev.Tick()], 112.0))
    assert (again.node, again.attempt) == (other, 2)
    pool.handle([ev.Prepared(launch.job, 2)], 112.0)
    known = ev.NodeRecord(launch.job, 1, running=True)
    actions = pool.handle([ev.NodeUp(launch.node, FACTS, (known,))], 113.0)
    assert {"t": "cancel", "job": launch.job, "attempt": 1, "grace": 5.0} in [
        a.message for a in of(act.SendMessage, actions)
    ]
    assert not of(act.JobEnded, pool.handle([ev.Exited(launch.node, launch.job, 1, 0, None)], 114.0)), "fenced"


def test_while_no_node_answers_none_is_given_up():
    """The controller itself may be cut off, and no other node could run the job."""
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown("a", "closed"), ev.NodeDown("b", "closed")], 2.0)
    for second in range(3, 300):
        assert not of(act.Fence, pool.handle([ev.Tick()], float(second)))
    other = "b" if launch.node == "a" else "a"
    pool.handle([ev.NodeUp(other, pool.nodes[other].facts)], 300.0)
    assert not of(act.Fence, pool.handle([ev.Tick()], 301.0)), "now the time begins"
    assert of(act.Fence, pool.handle([ev.Tick()], 400.0))


def test_word_of_an_end_comes_before_the_fence_bites():
    """The node could not report the end of the job, but it has left an exit notice in the shared directory."""
    pool = make_pool("a", "b")
    launch = run_one(pool)
    pool.handle([ev.NodeDown(launch.node, "closed")], 2.0)
    assert of(act.Fence, pool.handle([ev.Tick()], 102.0))
    assert not of(act.Fence, pool.handle([ev.Tick()], 103.0)), "once"
    done = outcome(pool.handle([ev.Exited(launch.node, launch.job, 1, 0, None)], 105.0))
    assert done.state == JobState.SUCCEEDED


def test_a_job_that_takes_three_nodes_down_fails():
    pool = make_pool("a", "b", "c", "d")
    launch = run_one(pool)
    for attempt in (1, 2, 3):
        actions = pool.handle([ev.Exited(launch.node, launch.job, attempt, -9, "lost")], float(attempt))
        if attempt < 3:
            (launch,) = of(act.Prepare, actions)
            pool.handle([ev.Prepared(launch.job, launch.attempt)], float(attempt))
    done = outcome(actions)
    assert done.state == JobState.FAILED and "lost 3 times" in done.reason


def test_a_missing_path_makes_the_node_infeasible_by_name():
    pool = make_pool("a", "b")
    job = JobSpec("run/1", Request(needs=("/opt/py",)))
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((job,))], 1.0))
    pool.handle([ev.Prepared("run/1", 1)], 1.0)
    (again,) = of(act.Prepare, pool.handle([ev.Refused(launch.node, "run/1", 1, "missing", path="/opt/py")], 2.0))
    pool.handle([ev.Prepared("run/1", 2)], 2.0)
    done = outcome(pool.handle([ev.Refused(again.node, "run/1", 2, "missing", path="/opt/py")], 3.0))
    assert done.reason.count("has no /opt/py") == 2


def test_three_refusals_are_quarantine_with_probation():
    pool = make_pool("a")
    now = 1.0
    assert of(act.Prepare, pool.handle([ev.Submitted((spec("1"),))], now))
    for attempt in (1, 2, 3):
        pool.handle([ev.Prepared("run/1", attempt)], now)
        pool.handle([ev.Refused("a", "run/1", attempt, "fork")], now)
    assert pool.nodes["a"].state == NodeState.QUARANTINED
    assert of(act.Prepare, pool.handle([ev.Tick()], now + 61))
    assert pool.nodes["a"].state == NodeState.READY


def test_halt_gives_back_what_waits_and_lets_the_rest_finish():
    pool = make_pool("a", cores=1)
    run_one(pool, "1")
    pool.handle([ev.Submitted((spec("2"),))], 2.0)
    assert outcome(pool.handle([ev.Halt()], 3.0)).state == JobState.WITHDRAWN
    assert outcome(pool.handle([ev.Submitted((spec("3"),))], 3.0)).state == JobState.WITHDRAWN
    assert outcome(pool.handle([ev.Exited("a", "run/1", 1, 0, None)], 4.0)).state == JobState.SUCCEEDED


def test_cancel_reaches_every_state():
    pool = make_pool("a", cores=2)
    run_one(pool, "1")
    pool.handle([ev.Submitted((spec("2"), spec("3")))], 2.0)
    actions = pool.handle([ev.CancelAll(3.0)], 3.0)
    assert [a.message["t"] for a in of(act.SendMessage, actions)] == ["cancel"]
    assert outcome(actions).job == "run/3"
    assert outcome(pool.handle([ev.Prepared("run/2", 1)], 3.0)).state == JobState.CANCELLED
    assert outcome(pool.handle([ev.Exited("a", "run/1", 1, -15, "cancelled")], 3.0)).state == JobState.CANCELLED
    assert not pool.jobs and not pool.nodes["a"].reservations


def test_an_adopted_job_keeps_its_attempt_and_holds_its_seat():
    pool = make_pool("a")
    pool.handle(
        [ev.Submitted((JobSpec("old/7", Request(), attempt=2),)), ev.Adopted("old/7", 2, "a", Reservation((1,)))], 1.0
    )
    job = pool.jobs["old/7"]
    assert (job.state, job.attempt, set(pool.nodes["a"].reservations.slots)) == (JobState.RUNNING, 2, {1})
    assert outcome(pool.handle([ev.Exited("a", "old/7", 2, 0, None)], 2.0)).state == JobState.SUCCEEDED


def test_a_job_of_an_earlier_run_keeps_its_seat_until_it_ends():
    pool = make_pool("a")
    pool.handle([ev.NodeDown("a", "closed")], 0.0)
    pool.handle([ev.Tick()], 1.0)
    known = ev.NodeRecord("old/7", 1, running=True, meta={"slots": [0], "gpus": []})
    pool.handle([ev.NodeUp("a", FACTS, (known,)), ev.LoadMeasured("a", Load())], 2.0)
    assert run_one(pool).reservation.slots == (1,)
    assert not of(act.Prepare, pool.handle([ev.Submitted((spec("2"),))], 3.0))
    assert of(act.Prepare, pool.handle([ev.Exited("a", "old/7", 1, 0, None)], 4.0))[0].reservation.slots == (0,)
