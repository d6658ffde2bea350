"""Reservations count at once, and a node that does not take a job has a reason."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.feasibility import Refusal
from snakemake_executor_plugin_harbor.core.free_resources import STARVATION_S
from snakemake_executor_plugin_harbor.core.job import impossible_message
from snakemake_executor_plugin_harbor.core.machine import machine_of, peers_by_boot_id
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
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.core.placement import Placement, lowest_free, place
from snakemake_executor_plugin_harbor.core.policy import Policy
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts
from snakemake_executor_plugin_harbor.core.waiting import SHUN_S

IDLE = Load(mem_available_mb=60_000, disk_free_mb=50_000, workdir_free_mb=60_000)


def pool_of(*specs, load=IDLE, policy=None, **facts):
    """Return a pool of ready nodes, each with 16 cores and 64,000 MiB."""
    pool = Pool(specs, policy, Timeouts(lost_after=100, fence_wait=10))
    pool.connect_all()
    known = {"cores": 16, "mem_mb": 64_000, **facts}
    pool.handle([ev.NodeUp(s.name, NodeFacts(**{"boot_id": f"boot-{s.name}", **known})) for s in specs], 0.0)
    pool.handle([ev.LoadMeasured(s.name, load) for s in specs], 0.0)
    return pool


def node(name="a", **more):
    return NodeSpec(name, name, **more)


def submit(pool, now=1.0, count=1, **request):
    """Submit `count` jobs with the same request. Return the Prepare actions that follow."""
    first = len(pool.jobs)
    specs = tuple(JobSpec(f"run/{first + i}.{now}", Request(**request), rule="r") for i in range(count))
    return [a for a in pool.handle([ev.Submitted(specs)], now) if isinstance(a, act.Prepare)]


def run(pool, launches, now):
    for launch in launches:
        pool.handle([ev.Prepared(launch.job, 1), ev.Started(launch.node, launch.job, 1)], now)


def reason(pool, name="a"):
    (job,) = {id(j.refusal): j for j in pool.jobs.values() if j.state == JobState.QUEUED}.values()
    return job.refusal.reasons[name]


def test_memory_is_reserved_from_the_moment_of_placement():
    """Other people use 40 of 64 GB, so five jobs of 4 GB fit."""
    pool = pool_of(node(), load=replace(IDLE, mem_available_mb=24_000))
    placed = submit(pool, count=14, mem_mb=4000)
    assert len(placed) == 5
    assert "running jobs may take 20000; the job needs 4000 and 512 stay free" in reason(pool)
    run(pool, placed, 2.0)
    # They have begun, and use a little of what they may take. Still nothing is left to promise.
    assert not of_launch(pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=23_000))], 3.0))
    assert not of_launch(pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=4_000))], 4.0))
    # Other people leave, so their memory can be promised now.
    assert len(of_launch(pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=44_000))], 5.0))) == 5


def of_launch(actions):
    return [a for a in actions if isinstance(a, act.Prepare)]


def test_an_ended_job_gives_its_memory_back_with_the_next_sample():
    pool = pool_of(node(), load=replace(IDLE, mem_available_mb=5_000))
    (first,) = submit(pool, count=2, mem_mb=4000)
    run(pool, [first], 1.0)
    pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=1_500))], 2.0)
    assert not of_launch(pool.handle([ev.Exited("a", first.job, 1, 0, None)], 3.0)), "not seen to be free yet"
    assert of_launch(pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=5_000))], 4.0))


@given(
    available=st.integers(0, 64_000),
    asked=st.lists(st.sampled_from([500, 1000, 4000, 9000]), max_size=40),
    used=st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_what_an_idle_node_is_given_never_exceeds_what_it_had(available, asked, used):
    pool = pool_of(node(), load=replace(IDLE, mem_available_mb=available), cores=64)
    for index, part in enumerate(used):
        now = float(index + 1)
        for i, mem in enumerate(asked):
            pool.handle([ev.Submitted((JobSpec(f"run/{index}.{i}", Request(mem_mb=mem)),))], now)
        promised = pool.nodes["a"].reservations.mem_mb
        assert promised <= max(0, available - 512)
        # All of them run and use a part of their memory.
        pool.handle([ev.LoadMeasured("a", replace(IDLE, mem_available_mb=int(available - part * promised)))], now)


def test_names_of_one_machine_share_its_memory():
    pool = pool_of(node("a"), node("b"), load=replace(IDLE, mem_available_mb=9_000), boot_id="one")
    assert len(submit(pool, count=6, mem_mb=4000)) == 2


def test_disk_is_checked_where_the_files_lie_and_reserved_across_the_nodes_that_share_it():
    pool = pool_of(node("a"), node("b"))
    placed = submit(pool, count=4, disk_mb=25_000)
    assert len(placed) == 2
    text = "sees 60000 MiB free in the working directory, of which running jobs may take 50000; the job needs 25000"
    assert reason(pool, "a") == reason(pool, "b") == text
    run(pool, placed, 2.0)
    assert of_launch(pool.handle([ev.Exited(placed[0].node, placed[0].job, 1, 0, None)], 3.0)), "its files are counted"


def test_little_scratch_does_not_keep_a_job_with_big_files_away():
    pool = pool_of(node(), load=replace(IDLE, disk_free_mb=480))
    assert submit(pool, disk_mb=1000)
    pool = pool_of(node(), load=replace(IDLE, disk_free_mb=10))
    assert not submit(pool)
    assert "has 10 MiB of scratch free, the job needs 16 for its records and output" in reason(pool)


def test_the_host_file_cannot_give_memory_that_the_machine_does_not_have():
    pool = pool_of(node(mem_mb=128_000), node("b", mem_mb=2_000))
    (job,) = (JobSpec("run/1", Request(mem_mb=70_000)),)
    settled = [a.outcome for a in pool.handle([ev.Submitted((job,))], 1.0) if isinstance(a, act.JobEnded)]
    assert "a has 64000 MiB of memory" in settled[0].reason and "b has 2000 MiB of memory" in settled[0].reason


def test_memory_that_must_stay_free_is_never_given():
    pool = pool_of(node(), policy=Policy(min_free_mem_mb=1000))
    job = JobSpec("run/1", Request(mem_mb=63_500))
    settled = [a.outcome for a in pool.handle([ev.Submitted((job,))], 1.0) if isinstance(a, act.JobEnded)]
    assert "1000 stay free" in settled[0].reason


def test_containers_with_quotas_of_their_own_count_each():
    names = [f"c{i}" for i in range(4)]
    pool = pool_of(*map(node, names), cores=2, boot_id="one", quota=True)
    assert pool.slots() == 8 and len(submit(pool, count=9)) == 8


def test_names_of_one_machine_count_once():
    pool = pool_of(node("a"), node("b"), cores=4, boot_id="one")
    assert pool.slots() == 4 and len(submit(pool, count=9)) == 4
    pool = pool_of(node("a", slots=3), node("b", slots=3), cores=4, boot_id="one")
    assert pool.slots() == 6 and len(submit(pool, count=9)) == 6, "the user's choice"


def test_a_container_on_a_machine_that_is_a_node_itself():
    """The machine's other entry sees the use of these jobs, and does not count it as other people's use."""
    host, inner = NodeView(node("h"), NodeState.READY), NodeView(node("c"), NodeState.READY)
    host.facts = NodeFacts(cores=8, mem_mb=8000, boot_id="one")
    inner.facts = NodeFacts(cores=2, mem_mb=2000, boot_id="one", quota=True)
    inner.load = Load(busy=2.0, ours={"r/1#1": 2.0})
    inner.hold("r/1#1", Request(2), Reservation((0, 1)))
    host.load = Load(busy=2.5)
    machine = machine_of(host, peers_by_boot_id([host, inner]))
    assert (machine.cores, machine.reserved, machine.ours, machine.foreign) == (8, 2, 2.0, 0.5)


def test_the_seat_of_a_node_with_millions_of_slots():
    view = NodeView(node(slots=30_000_000), NodeState.READY)
    view.hold("x#1", Request(2), Reservation((0, 2)))
    assert lowest_free(Request(cores=3), view).slots == (1, 3, 4)


# --- a node that failed a job is its last choice ------------------------------------------------------------


def lose(pool, launch, now):
    pool.handle([ev.Prepared(launch.job, launch.attempt)], now)
    return of_launch(pool.handle([ev.Exited(launch.node, launch.job, launch.attempt, -9, "lost")], now))


def test_a_job_goes_back_to_the_node_that_lost_it_when_no_other_is_ready():
    for others_fate in (
        [],
        [ev.NodeDown("b", "off")],
        [ev.NodeDown("b", "off"), ev.Tick()],
        [ev.DrainChanged("b", "disk")],
    ):
        pool = pool_of(node("a"), node("b"))
        (launch,) = submit(pool, node=None)
        other = "b" if launch.node == "a" else "a"
        renamed = [replace(e, node=other) if hasattr(e, "node") else e for e in others_fate]
        pool.handle(renamed, 2.0)
        again = lose(pool, launch, 3.0)
        if others_fate:
            assert again and again[0].node == launch.node and "no other node" in again[0].why
        else:
            assert again[0].node == other


def test_a_job_waits_a_little_for_a_busy_node_before_it_goes_back():
    pool = pool_of(node("a", slots=1), node("b", slots=1))
    one, two = submit(pool, count=2)
    run(pool, [two], 1.0)
    assert not lose(pool, one, 2.0)
    assert "did not take or finish this job before" in pool.jobs[one.job].refusal.reasons[one.node]
    # Other jobs take the node meanwhile, and this job does not block them.
    assert submit(pool, now=3.0)[0].node == one.node
    pool.handle([ev.Exited(one.node, next(j for j in pool.jobs if j.endswith(".3.0")), 1, 0, None)], 3.5)
    assert not of_launch(pool.handle([ev.Tick()], 2.0 + SHUN_S - 0.5))


def test_a_job_goes_back_after_a_while_though_another_node_is_only_busy():
    pool = pool_of(node("a", slots=1), node("b", slots=1))
    one, two = submit(pool, count=2)
    run(pool, [two], 1.0)
    assert not lose(pool, one, 2.0)
    (again,) = of_launch(pool.handle([ev.Tick()], 2.0 + SHUN_S))
    assert again.node == one.node


# --- rules that nothing else tests --------------------------------------------------------------------------


def test_hours_keep_jobs_away_and_let_them_in_when_they_come():
    pool = pool_of(node(hours=(18, 8)))
    pool.handle([ev.Tick(12)], 0.5)
    assert not submit(pool) and reason(pool) == "is outside its hours"
    assert of_launch(pool.handle([ev.Tick(18)], 2.0))


def test_ntasks_per_node_limits_jobs_not_cores():
    pool = pool_of(node(), policy=Policy(ntasks_per_node=2))
    assert len(submit(pool, count=3)) == 2
    assert reason(pool) == "runs 2 jobs, as many as --harbor-ntasks-per-node allows"


def test_each_job_of_a_node_has_a_number_and_the_lowest_free_one_is_given_again():
    pool = pool_of(node())
    placed = submit(pool, count=3, cores=2)
    assert [launch.reservation.task for launch in placed] == [0, 1, 2]
    pool.handle([ev.PrepareFailed(placed[1].job, 1, "unprepared", "")], 2.0)
    assert [launch.reservation.task for launch in submit(pool, 3.0, count=2)] == [1, 3]


def test_a_job_with_a_number_waits_for_that_number_and_needs_room_for_those_below_it():
    pool = pool_of(node(slots=4))
    assert [launch.reservation.task for launch in submit(pool, task=1)] == [1]
    assert not submit(pool, 2.0, task=1)
    assert reason(pool) == "still runs another job as its task 1"
    assert [launch.reservation.task for launch in submit(pool, 3.0, task=0, cores=2)] == [0]
    refusal = place(Request(cores=2, task=2), pool.nodes, pool.policy, 4.0)
    assert refusal.permanent
    assert refusal.reasons["a"].startswith("has 4 slots, but ranks run side by side, and 3 of them need 6")


def test_a_nodes_own_max_load_wins_over_the_pools():
    busy = replace(IDLE, busy=8.0)
    assert len(submit(pool_of(node(max_load=0.6), load=busy), count=9)) == 2, "0.6 x 16 - 8, and the tolerance"
    assert len(submit(pool_of(node(max_load=1.0), load=busy, policy=Policy(max_load=0.1)), count=9)) == 8


def test_memory_that_was_promised_is_not_promised_again_where_no_sample_shows_it():
    pool = pool_of(node(mem_mb=9_000), load=Load())
    assert len(submit(pool, count=5, mem_mb=4000)) == 2
    assert reason(pool) == "has 1000 MiB unreserved, the job needs 4000"


def test_a_node_counts_as_idle_from_the_end_of_its_last_job():
    pool = pool_of(node(slots=1), load=replace(IDLE, busy=16.0))
    (first,) = of_launch(pool.handle([ev.Submitted((JobSpec("run/1", Request()),)), ev.Tick()], STARVATION_S))
    assert "30 s" in first.why and "cores left" not in first.why, "the reason is the rule, not the load"
    run(pool, [first], 40.0)
    pool.handle([ev.Submitted((JobSpec("run/2", Request()),))], 90.0)
    assert not of_launch(pool.handle([ev.Exited("a", "run/1", 1, 0, None)], 100.0))
    assert not of_launch(pool.handle([ev.Tick()], 100.0 + STARVATION_S - 1))
    assert of_launch(pool.handle([ev.Tick()], 100.0 + STARVATION_S))


def test_the_use_of_a_peers_jobs_is_not_somebody_elses():
    pool = pool_of(node("a", slots=2), node("b", slots=2), cores=4, boot_id="one")
    placed = submit(pool, count=2)
    run(pool, placed, 1.0)
    for launch in placed:
        pool.handle([ev.LoadMeasured(launch.node, replace(IDLE, busy=2.0, ours={f"{launch.job}#1": 1.0}))], 2.0)
    assert len(submit(pool, now=3.0, count=3)) == 2, "two of four cores are free"


# --- the text of a permanent refusal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request(node="host1"), "there is no node host1; the host list has ada, grace"),
        (Request(node="gracie"), "there is no node gracie; did you mean grace?"),
        (Request(constraint=frozenset({"fats"})), "did you mean fast? tags are given"),
        (Request(gpus=1), "gpus: 1"),
        (Request(constraint=frozenset({"big"})), "tags: [big]"),
    ],
)
def test_a_job_that_no_node_can_hold_names_the_way_out(request_, text):
    pool = pool_of(node("ada", tags=frozenset({"fast"})), node("grace"))
    answer = place(request_, pool.nodes, Policy(), 0.0)
    assert isinstance(answer, Refusal) and answer.permanent and text in impossible_message(answer)


def test_a_pinned_job_does_not_name_every_node():
    pool = pool_of(node("ada"), node("grace"))
    message = impossible_message(place(Request(node="x"), pool.nodes, Policy(), 0.0))
    assert message == "there is no node x; the host list has ada, grace"
    assert isinstance(place(Request(node="ada"), pool.nodes, Policy(), 0.0), Placement)
