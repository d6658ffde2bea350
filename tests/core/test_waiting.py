"""The waiting queue decides the same as a simple pass over all jobs and all nodes, at a bounded cost."""

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
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
from snakemake_executor_plugin_harbor.core.placement import Placement, place
from snakemake_executor_plugin_harbor.core.policy import Policy
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts
from snakemake_executor_plugin_harbor.core.waiting import SHUN_S


def naive(pool, queue, nodes, now):
    """Return the decisions of the reference. Every job asks every node, in the order of the queue. Then the same is
    done with the nodes that the jobs avoid.
    """
    decided = {}
    for last_choice in (False, True):
        full = set()
        for job in queue:
            question = (job.spec.request, frozenset(job.avoid))
            if job.spec.id in decided or question in full or job.maybe_running_on or job.not_before > now:
                continue
            if last_choice and now - job.since < SHUN_S:
                others = [n for n in nodes.values() if n.state == NodeState.READY and not n.closed]
                fit = [n for n in others if n.spec.name not in job.avoid and can_ever(job.spec.request, n, pool)]
                if fit:
                    full.add(question)
                    continue
            answer = place(
                job.spec.request, nodes, pool.policy, now, hour=pool.hour, avoid=job.avoid, last_choice=last_choice
            )
            if isinstance(answer, Placement):
                nodes[answer.node].hold(job.key, job.spec.request, answer.reservation)
                decided[job.spec.id] = (answer.node, answer.reservation)
            elif answer.permanent:
                decided[job.spec.id] = None
            else:
                full.add(question)
    return decided


def can_ever(request, node, pool):
    from snakemake_executor_plugin_harbor.core.feasibility import permanent_reason

    return permanent_reason(request, node, pool.policy) is None


class Checked(Pool):
    """A pool that compares each round of decisions with the reference."""

    rounds = 0

    def _schedule(self, now):
        queue = [job for job in self.jobs.values() if job.state == JobState.QUEUED]
        queue.sort(key=lambda j: (-j.spec.priority, -self.durations.expected(j.spec.rule), -j.spec.depth, j.order))
        expected = naive(self, queue, copy.deepcopy(self.nodes), now)
        before = len(self._actions)
        super()._schedule(now)
        decided = {}
        for action in self._actions[before:]:
            if isinstance(action, act.Prepare):
                decided[action.job] = (action.node, action.reservation)
            elif isinstance(action, act.JobChanged) and action.state == JobState.FAILED:
                decided[action.job] = None
        assert decided == expected
        placed = [job for job, where in expected.items() if where is not None]
        launched = [a.job for a in self._actions[before:] if isinstance(a, act.Prepare)]
        assert sorted(launched) == sorted(placed)
        self.rounds += 1
        for job in self.jobs.values():
            if job.state == JobState.QUEUED:
                assert job.refusal is not None and job.refusal.reasons, job
        assert self.queue() == [job for job in queue if job.state == JobState.QUEUED]
        assert self.waiting._cache.promised_disk_mb == sum(n.reservations.disk_mb for n in self.nodes.values())


NAMES = "abcde"
requests = st.builds(
    Request,
    cores=st.integers(1, 3),
    mem_mb=st.sampled_from([0, 0, 1000, 3000]),
    disk_mb=st.sampled_from([0, 0, 300, 700]),
    gpus=st.sampled_from([0, 0, 1]),
    node=st.sampled_from([None, None, None, "a", "e", "nobody"]),
    constraint=st.sampled_from([frozenset(), frozenset(), frozenset({"big"})]),
    needs=st.sampled_from([(), (), ("/opt/x",)]),
    task=st.sampled_from([None, None, None, 0, 1]),
)
specs = st.builds(
    NodeSpec,
    name=st.sampled_from(NAMES),
    host=st.sampled_from("xy"),
    slots=st.sampled_from([None, 1, 3]),
    max_load=st.sampled_from([None, 0.5]),
    hours=st.sampled_from([None, (8, 18)]),
    tags=st.sampled_from([frozenset(), frozenset({"big"})]),
)
loads = st.builds(
    Load,
    busy=st.sampled_from([0.0, 0.5, 1.7, 4.0]),
    mem_available_mb=st.sampled_from([None, 2000, 3900]),
    disk_free_mb=st.sampled_from([None, 10, 500, 5000]),
    workdir_free_mb=st.sampled_from([None, 500, 1000]),
    users=st.sampled_from([(), ("somebody",)]),
)
facts = st.builds(
    NodeFacts,
    cores=st.sampled_from([2, 4]),
    mem_mb=st.just(4000),
    gpus=st.sampled_from([(), (0,)]),
    boot_id=st.sampled_from(["", "one", "two"]),
    quota=st.booleans(),
)


def submissions(draw, count):
    """Return events that submit up to 6 jobs. `count` is the number of jobs that were submitted before."""
    events = []
    for number in range(count + 1, count + 1 + draw(st.integers(1, 6))):
        earlier_ids = draw(st.sampled_from([(), (), (), (f"old/{number}",)]))
        rule, priority = draw(st.sampled_from("rs")), draw(st.sampled_from([0, 0, 1]))
        spec = JobSpec(f"run/{number}", draw(requests), 1, rule, priority, draw(st.integers(0, 2)))
        events.append(ev.Submitted((replace(spec, earlier_ids=earlier_ids),)))
    return events


def attempt_events(draw, job, what):
    """Return events about the attempt of a job that is on a node."""
    node, id, attempt = job.node, job.spec.id, job.attempt
    message = {"start": 0, "end": draw(st.integers(1, 50))}
    prepared = ev.Prepared(id, attempt)
    return {
        11: [prepared],
        12: [prepared, ev.Exited(node, id, attempt, 0, None, message)],
        13: [prepared, ev.Exited(node, id, attempt, 0, None, message)],
        14: [prepared, ev.Exited(node, id, attempt, -9, "lost")],
        15: [prepared, ev.Refused(node, id, attempt, "fork")],
        16: [prepared, ev.Refused(node, id, attempt, "missing", path="/opt/x")],
        17: [ev.PrepareFailed(id, attempt, "unsent")],
    }.get(what, [])


def any_events(draw, pool, count):
    """Return some events of one type about any node or job."""
    what = draw(st.integers(0, 17))
    name = draw(st.sampled_from(NAMES))
    jobs = sorted(pool.jobs)
    job = pool.jobs[draw(st.sampled_from(jobs))] if jobs else None
    if what <= 3:
        return submissions(draw, count)
    if what <= 6:
        return [ev.LoadMeasured(name, draw(loads))]
    if what == 7:
        return [ev.NodeDown(name, "x", draw(st.booleans()))]
    if what == 8:
        return [ev.NodeUp(name, draw(facts))]
    if what == 9:
        return [ev.DrainChanged(name, draw(st.sampled_from(["", "why"])))]
    if what == 10 and draw(st.booleans()):
        edited = draw(st.lists(specs, min_size=1, max_size=5, unique_by=lambda s: s.name))
        return [ev.HostListChanged(tuple(edited))]
    if job is not None and job.node is not None:
        return attempt_events(draw, job, what)
    if job is not None and what == 17:
        return [ev.CancelJob(job.spec.id)]
    if job is not None and what == 16 and job.spec.earlier_ids and name in pool.nodes:
        return [ev.Adopted(job.spec.earlier_ids[0], 1, name, Reservation((7,)), submitted_as=job.spec.id)]
    return []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_decisions_are_those_of_a_pass_over_everything(data):
    draw = data.draw
    nodes = draw(st.lists(specs, min_size=1, max_size=4, unique_by=lambda s: s.name))
    policy = Policy(min_free_mem_mb=100, ntasks_per_node=draw(st.sampled_from([None, 2])))
    pool = Checked(nodes, policy, Timeouts(lost_after=40, fence_wait=7))
    pool.connect_all()
    now, count = 0.0, 0
    pool.handle([ev.NodeUp(n.name, draw(facts)) for n in nodes], now)
    pool.handle([ev.LoadMeasured(n.name, draw(loads)) for n in nodes], now)
    for _ in range(draw(st.integers(5, 40))):
        events = []
        for _ in range(draw(st.integers(1, 3))):
            some = any_events(draw, pool, count)
            count += sum(isinstance(event, ev.Submitted) for event in some)
            events += some
        step = draw(st.sampled_from([0.0, 0.0, 1.0, 6.0, 31.0]))
        now += step
        if step:
            events.append(ev.Tick(draw(st.sampled_from([None, 3, 12]))))
        pool.handle(events, now)
    assert pool.rounds


def big_pool(count, requests, jobs):
    """Return a pool of `count` nodes with 4 slots, all taken, and `jobs` waiting jobs with `requests` different
    requests.
    """
    nodes = [NodeSpec(f"n{i}", f"n{i}") for i in range(count)]
    pool = Pool(nodes)
    pool.connect_all()
    facts = [ev.NodeUp(n.name, NodeFacts(cores=4, mem_mb=64_000, boot_id=n.name)) for n in nodes]
    load = Load(mem_available_mb=60_000, disk_free_mb=9000, workdir_free_mb=9000)
    pool.handle([*facts, *(ev.LoadMeasured(n.name, load) for n in nodes)], 0.0)
    first = [JobSpec(f"run/x{i}", Request(), rule="first") for i in range(4 * count)]
    actions = pool.handle([ev.Submitted(tuple(first))], 0.0)
    launched = [a for a in actions if isinstance(a, act.Prepare)]
    assert len(launched) == 4 * count
    waits = [JobSpec(f"run/{i}", Request(mem_mb=1 + i % requests), rule=f"r{i % 7}") for i in range(jobs)]
    pool.handle([ev.Prepared(a.job, 1) for a in launched], 0.0)
    pool.handle([ev.Submitted(tuple(waits))], 0.0)
    return pool, launched


def cost(pool, event, now):
    before = pool.waiting.asked
    actions = pool.handle([event], now)
    return pool.waiting.asked - before, [a for a in actions if isinstance(a, act.Prepare)]


@pytest.mark.parametrize("jobs", [100, 10_000])
def test_the_cost_of_an_event_does_not_grow_with_the_queue(jobs):
    pool, launched = big_pool(16, 50, jobs)
    load = Load(busy=4.0, mem_available_mb=50_000)
    asked, _ = cost(pool, ev.LoadMeasured("n3", load), 1.0)
    assert asked == 0, "a full node is not asked"
    asked, placed = cost(pool, ev.Exited(launched[0].node, launched[0].job, 1, 0, None), 2.0)
    assert len(placed) == 1 and asked <= 3 * 50, "only the node where a job has ended, once or twice per class of jobs"
    asked, _ = cost(pool, ev.Tick(), 3.0)
    assert asked == 0


def test_the_cost_of_an_event_does_not_grow_with_the_nodes():
    costs = []
    for count in (16, 256):
        pool, launched = big_pool(count, 50, 1000)
        asked, placed = cost(pool, ev.Exited(launched[0].node, launched[0].job, 1, 0, None), 2.0)
        assert len(placed) == 1
        costs.append(asked)
    assert costs[0] == costs[1]


def test_a_first_job_of_its_kind_asks_every_node_once():
    pool, _ = big_pool(256, 50, 1000)
    asked, _ = cost(pool, ev.Submitted((JobSpec("run/new", Request(mem_mb=7777)),)), 1.0)
    assert asked <= 256 + 2
