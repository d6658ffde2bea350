"""The scheduler plugin: the choice and the order of the ready jobs, and the depths of jobs in the DAG."""

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.core.capacity import Capacity, HandOverLimits
from snakemake_executor_plugin_harbor.core.dag_depth import DagDepths
from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.core.policy import Policy
from snakemake_scheduler_plugin_harbor import Scheduler, SchedulerSettings


class Job:
    """The attributes of Snakemake's jobs that the scheduler reads."""

    def __init__(self, name, request=None, priority=0, depth=0, local=False, **resources):
        self.name, self.request, self.priority, self.depth, self.is_local = name, request, priority, depth, local
        self.scheduler_resources = {"_cores": request.cores if request else 1, **resources}

    def __repr__(self):
        return self.name


class Pool:
    """An executor like harbor's on these nodes. `handed_over` is what the session keeps."""

    def __init__(self, *nodes):
        self.nodes = {node.spec.name: node for node in nodes}
        self.handed_over = {}
        self.asked = 0

    def hand_over_limits(self):
        return HandOverLimits(Capacity(self.nodes.values(), Policy()), self.handed_over)

    def request(self, job):
        self.asked += 1
        return job.request

    def hand_over(self, jobs):
        for job in jobs:
            if not job.is_local:
                self.handed_over[job.request] = self.handed_over.get(job.request, 0) + job.request.cores


def node(name, slots, state=NodeState.READY, **spec):
    view = NodeView(NodeSpec(name, name, **spec), state)
    view.facts = NodeFacts(cores=slots, mem_mb=8000, boot_id=name)
    return view


def below(job):
    """Return the dependencies of a job, as a DAG does. They form a chain as long as the job is deep."""
    depth = getattr(job, "depth", job)
    return [depth - 1] if depth else []


def scheduler(executor):
    workflow = SimpleNamespace(scheduler=SimpleNamespace(get_executor=lambda job: executor))
    dag = SimpleNamespace(workflow=workflow, job_dependencies=below)
    return Scheduler(dag, SchedulerSettings(), None)


def select(executor, jobs, **available):
    chosen = scheduler(executor).select_jobs(jobs, jobs, {"_cores": 1000, **available}, {})
    executor.hand_over(chosen) if isinstance(executor, Pool) else None
    return [job.name for job in chosen]


GPU = Request(constraint=frozenset({"gpu"}))
PLAIN = Request()


def mixed(first, **resources):
    """Return 30 deep jobs of one class before 12 plain jobs."""
    deep = [Job(f"deep{i}", first, depth=5, **resources) for i in range(30)]
    return [*deep, *(Job(f"plain{i}", PLAIN) for i in range(12))]


def test_jobs_of_a_tag_that_one_node_has_do_not_keep_others_from_the_rest():
    pool = Pool(node("host1", 1, tags=frozenset({"gpu"})), node("host2", 4))
    chosen = select(pool, mixed(GPU))
    assert sum(name.startswith("deep") for name in chosen) == 2, "twice the one slot"
    assert sum(name.startswith("plain") for name in chosen) == 10, "twice the five slots"


@pytest.mark.parametrize(
    "request_",
    [
        *(Request(node="host1"), Request(mem_mb=8500), Request(gpus=1), Request(cores=5), Request(needs=("/opt/x",))),
        Request(unstaged="run: is Python code of the Snakefile"),
    ],
)
def test_every_kind_of_demand_makes_a_class_of_its_own(request_):
    host1, host2 = node("host1", 6, gpus=2), node("host2", 4)
    host1.facts = NodeFacts(cores=6, mem_mb=16_000, boot_id="host1")
    host2.missing.add("/opt/x")
    host2.facts = replace(host2.facts, staged=True)
    chosen = select(Pool(host1, host2), mixed(request_))
    assert 0 < sum(name.startswith("deep") for name in chosen) <= 12
    assert sum(name.startswith("plain") for name in chosen) == 12


def test_jobs_that_do_not_fit_snakemakes_resources_do_not_use_up_the_room():
    pool = Pool(node("host1", 2))
    licensed = [Job(f"deep{i}", PLAIN, depth=5, licence=1) for i in range(30)]
    chosen = select(pool, [*licensed, *(Job(f"plain{i}", PLAIN) for i in range(12))], licence=1)
    assert chosen == ["deep0", "plain0", "plain1", "plain2"]


@pytest.mark.parametrize("away", ["drained", "backoff", "leaving"])
def test_a_node_that_is_away_has_no_room_and_gives_none_away(away):
    host1, host2 = node("host1", 8), node("host2", 4)
    host1.drain = "disk" if away == "drained" else ""
    host1.leaving, host1.successor = away == "leaving", host1.spec if away == "leaving" else None
    host1.state = NodeState.BACKOFF if away == "backoff" else NodeState.READY
    pool = Pool(host1, host2)
    chosen = select(pool, mixed(Request(node="host1")))
    assert [name for name in chosen if name.startswith("deep")] == ["deep0"], "one: harbor says why it waits"
    assert sum(name.startswith("plain") for name in chosen) == 8


def test_what_was_handed_over_counts_until_it_has_ended():
    pool = Pool(node("host1", 2))
    jobs = [Job(f"j{i}", PLAIN) for i in range(10)]
    assert select(pool, jobs) == ["j0", "j1", "j2", "j3"]
    assert select(pool, jobs[4:]) == []
    pool.handed_over[PLAIN] -= 1
    assert select(pool, jobs[4:]) == ["j4"]


def test_a_job_that_no_node_can_hold_is_handed_over_to_be_refused():
    assert select(Pool(node("host1", 2)), [Job("j", Request(cores=99))]) == ["j"]


def test_order_is_priority_then_depth():
    jobs = [Job("low", PLAIN), Job("deep", PLAIN, depth=3), Job("urgent", PLAIN, priority=1)]
    assert select(Pool(node("host1", 4)), jobs) == ["urgent", "deep", "low"]


def test_local_jobs_and_other_executors_have_snakemakes_resources_only():
    local = Job("here", PLAIN, local=True)
    assert select(Pool(node("host1", 0)), [local]) == ["here"]
    jobs = [Job(f"j{i}", PLAIN) for i in range(5)]
    assert select(SimpleNamespace(), jobs, _cores=3) == ["j0", "j1", "j2"]


def test_ten_thousand_ready_jobs_are_looked_at_once():
    pool = Pool(*(node(f"n{i}", 4) for i in range(250)))
    jobs = [Job(f"j{i}", Request(mem_mb=i % 7000)) for i in range(10_000)]
    plugin = scheduler(pool)
    started = time.thread_time()
    assert len(plugin.select_jobs(jobs, jobs, {"_cores": 10**6}, {})) == 2000
    again = plugin.select_jobs(jobs[2000:], jobs, {"_cores": 10**6}, {})
    assert time.thread_time() - started < 5, "one pass a round"
    assert pool.asked <= 10_000 + len(again)


# --- depth ------------------------------------------------------------------------------------------------


def test_depth_is_the_longest_chain_below():
    dag = {"a": [], "b": ["a"], "c": ["b", "a"], "d": ["a"]}
    depths = DagDepths(dag.__getitem__)
    assert [depths.depth_of_job(job) for job in "abcd"] == [0, 1, 2, 1]


def test_a_chain_longer_than_the_stack():
    depths = DagDepths(lambda job: [job - 1] if job else [])
    assert depths.depth_of_job(50_000) == 50_000


def test_a_group_is_as_deep_as_its_deepest_member():
    depths = DagDepths(lambda job: [job - 1] if job else [])
    assert depths.depth_of(SimpleNamespace(jobs=[2, 7, 3])) == 7
    assert depths.depth_of(SimpleNamespace(jobs=lambda: [])) == 0
    assert depths.depth_of(4) == 4
