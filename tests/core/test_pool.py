"""The reactor: scenarios as events in and actions out, and its invariants under any order of events."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.job import LOST_REASONS
from snakemake_executor_plugin_harbor.core.job_table import Timeouts
from snakemake_executor_plugin_harbor.core.lifecycle import HOLDING, JOB, NODE, ON_NODE, TERMINAL
from snakemake_executor_plugin_harbor.core.model import (
    JobSpec,
    JobState,
    Load,
    NodeFacts,
    NodeSpec,
    NodeState,
    Request,
    Reservation,
)
from snakemake_executor_plugin_harbor.core.pool import Pool

FACTS = NodeFacts(cores=2, mem_mb=8000, boot_id="b", shared=True)


def make_pool(*names, cores=2, **timeouts):
    pool = Pool([NodeSpec(name=n, host=n) for n in names], timeouts=Timeouts(100, 10, **timeouts))
    pool.connect_all()
    events = []
    for n in names:
        facts = NodeFacts(cores=cores, mem_mb=8000, boot_id=f"boot-{n}")
        events += [ev.NodeUp(n, facts), ev.LoadMeasured(n, Load(mem_available_mb=8000))]
    pool.handle(events, 0.0)
    return pool


def spec(id, **request):
    return JobSpec(f"run/{id}", Request(**request), rule="r")


def of(kind, actions):
    return [a for a in actions if isinstance(a, kind)]


def run_one(pool, id="1", now=1.0):
    """A job up to `running`; returns its launch."""
    (launch,) = of(act.Prepare, pool.handle([ev.Submitted((spec(id),))], now))
    pool.handle([ev.Prepared(launch.job, launch.attempt)], now)
    pool.handle([ev.Started(launch.node, launch.job, launch.attempt)], now)
    return launch


def outcome(actions):
    (settled,) = of(act.JobEnded, actions)
    return settled.outcome


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
    launch = run_one(pool)
    done = outcome(pool.handle([ev.Exited("a", launch.job, 1, 3, None)], 2.0))
    assert done.state == JobState.FAILED and done.reason == "exit code 3"


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
    pool.durations.learn("long", 100)
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
    """The node finds a record without an end: to the node alone, agent and guardian may have been killed."""
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
    """It may be the controller that is cut off; and there is nowhere else to run."""
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
    """The node told nobody that the job had ended, but left word of it where both can look."""
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
    assert done.state == JobState.FAILED and "lost on 3 nodes" in done.reason


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
    assert (job.state, job.attempt, pool.nodes["a"].used_slots()) == (JobState.RUNNING, 2, {1})
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


def test_a_job_without_a_sign_of_life_is_warned_of_once_and_again_after_the_next_sign():
    pool = make_pool("a", "b", stall_after=50)
    launch = run_one(pool)
    assert not of(act.JobStalled, pool.handle([ev.Tick()], 50.0))
    assert of(act.JobStalled, pool.handle([ev.Tick()], 51.0)) == [act.JobStalled(launch.job, launch.node, 50, False)]
    assert not of(act.JobStalled, pool.handle([ev.Tick()], 52.0))
    pool.handle([ev.AttemptsActive(launch.node, ((launch.job, 1),))], 60.0)
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
    """`a` has answered, `b` has not."""
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


def test_tables_name_only_states_that_can_be_left_or_are_terminal():
    for table, terminal in ((JOB, TERMINAL), (NODE, {NodeState.REMOVED})):
        sources = {state for state, _ in table}
        assert set(table.values()) - sources == set(terminal)


MESSAGES = [
    ev.Started,
    lambda node, job, attempt: ev.Exited(node, job, attempt, 0, None),
    lambda node, job, attempt: ev.Exited(node, job, attempt, 1, None),
    lambda node, job, attempt: ev.Exited(node, job, attempt, -9, "lost"),
    lambda node, job, attempt: ev.Exited(node, job, attempt, -15, "cancelled"),
    lambda node, job, attempt: ev.Exited(node, job, attempt, -15, "shutdown"),
    lambda node, job, attempt: ev.Exited(node, job, attempt, 1, "unshared"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "disk"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "fork"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "job", "embedded null byte"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "error", "odd"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "unshared"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "fenced"),
    lambda node, job, attempt: ev.Refused(node, job, attempt, "missing", path="/opt/py"),
    ev.AttemptUnknown,
    lambda node, job, attempt: ev.Progressed(node, job, attempt, 1, 2),
    lambda node, job, attempt: ev.AttemptsActive(node, ((job, attempt),)),
]
"""What a node may say about an attempt."""


class AnyOrder(RuleBasedStateMachine):
    """Messages of a node, Snakemake and the clock in any order, late, twice or never: the pool stays whole."""

    jobs = Bundle("jobs")
    launches = Bundle("launches")

    def __init__(self):
        super().__init__()
        self.pool = make_pool("a", "b", "c")
        self.now = 1.0
        self.settled = {}
        self.pending = []
        self.count = 0

    def do(self, *events):
        actions = self.pool.handle(events, self.now)
        for action in of(act.JobEnded, actions):
            id = action.outcome.job
            assert id not in self.settled, "a job ends once"
            assert action.outcome.state in TERMINAL
            self.settled[id] = action.outcome.state
        for launch in of(act.Prepare, actions):
            # Only then: the user may give a node fewer slots than its jobs hold.
            node = self.pool.nodes[launch.node]
            assert node.reserved() <= node.slots
            assert sum(r.mem_mb for r, _ in node.reservations.values()) <= node.mem_mb
        self.pending += of(act.Prepare, actions)

    @rule(target=jobs, cores=st.integers(1, 3), mem=st.sampled_from([0, 4000, 9000]), again=st.booleans())
    def submit(self, cores, mem, again):
        self.count += 1
        earlier_ids = (f"old/{self.count}",) if again else ()
        self.do(
            ev.Submitted((JobSpec(f"run/{self.count}", Request(cores=cores, mem_mb=mem), earlier_ids=earlier_ids),))
        )
        return f"run/{self.count}"

    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "ok", "unprepared", "withdraw", "cached"]))
    def prepare(self, data, how):
        if not self.pending:
            return
        launch = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        if how == "ok":
            self.do(ev.Prepared(launch.job, launch.attempt))
        else:
            self.do(ev.PrepareFailed(launch.job, launch.attempt, how))

    @rule(job=jobs, node=st.sampled_from("abc"), attempt=st.integers(1, 3), what=st.sampled_from(MESSAGES))
    def message(self, job, node, attempt, what):
        self.do(what(node, job, attempt))

    @rule(node=st.sampled_from("abc"), permanent=st.booleans())
    def down(self, node, permanent):
        self.do(ev.NodeDown(node, "x", permanent and node != "a"))

    @rule(node=st.sampled_from("abc"), boot=st.sampled_from(["boot-a", "boot-x"]), data=st.data())
    def up(self, node, boot, data):
        known = []
        for job in list(self.pool.jobs.values()):
            if data.draw(st.booleans()):
                known.append(ev.NodeRecord(job.spec.id, job.attempt, data.draw(st.booleans()), None))
        self.do(ev.NodeUp(node, NodeFacts(cores=2, mem_mb=8000, boot_id=boot), tuple(known)))

    @rule(node=st.sampled_from("abc"), busy=st.floats(0, 4), shared=st.sampled_from([True, True, False]))
    def measure(self, node, busy, shared):
        self.do(ev.LoadMeasured(node, Load(busy=busy, mem_available_mb=8000, shared=shared)))

    @rule(seconds=st.sampled_from([0.5, 15.0, 70.0, 130.0]))
    def time(self, seconds):
        self.now += seconds
        self.do(ev.Tick())

    @rule(names=st.sets(st.sampled_from("abcd")), slots=st.sampled_from([None, 1, 3]), host=st.sampled_from("xy"))
    def edit_hosts(self, names, slots, host):
        self.do(ev.HostListChanged(tuple(NodeSpec(n, n if n != "b" else host, slots=slots) for n in sorted(names))))

    @rule(node=st.sampled_from("abc"), reason=st.sampled_from(["", "why"]))
    def drain(self, node, reason):
        self.do(ev.DrainChanged(node, reason))

    @rule(job=jobs, node=st.sampled_from("abc"), attempt=st.integers(1, 3), ended=st.booleans())
    def adopt(self, job, node, attempt, ended):
        """As a node would say it that answers late."""
        queued = self.pool.jobs.get(job)
        if queued is None or queued.state != JobState.QUEUED or not queued.spec.earlier_ids:
            return
        earlier_ids, slot = queued.spec.earlier_ids[0], self.free_slot(node)
        if slot is not None:
            exit = {"code": 0, "reason": None} if ended else None
            self.do(ev.Adopted(earlier_ids, attempt, node, Reservation((slot,)), exit, submitted_as=job))

    def free_slot(self, name):
        node = self.pool.nodes.get(name)
        free = set(range(node.slots)) - node.used_slots() if node is not None else None
        return min(free) if free else None

    @rule(job=jobs)
    def cancel(self, job):
        self.do(ev.CancelJob(job))

    @rule()
    def halt(self):
        if self.count > 20:
            self.do(ev.Halt())

    @rule(job=consumes(jobs))
    def drop(self, job):
        """Nothing: messages about this job stop."""

    @invariant()
    def whole(self):
        holders = {}
        for job in self.pool.jobs.values():
            assert job.state not in TERMINAL
            assert job.spec.id not in self.settled, "terminal states stay"
            if job.state in HOLDING:
                holders[job.key] = job.node
            if job.state in ON_NODE or job.state == JobState.PLACED:
                assert job.node in self.pool.nodes
        for name, node in self.pool.nodes.items():
            assert {k for k, n in holders.items() if n == name} <= set(node.reservations), "a holder has a reservation"
            assert {k for k, n in holders.items() if n != name} & set(node.reservations) == set(), "on one node only"
            slots = [s for _, reservation in node.reservations.values() for s in reservation.slots]
            assert len(slots) == len(set(slots)), "no slot twice"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
