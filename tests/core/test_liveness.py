"""A waiting job is placed as soon as a node that can hold it is idle, whatever the nodes did before.

The state machine in `test_pool` tests safety only. A pool that never places a job would pass it.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.feasibility import permanent_reason
from snakemake_executor_plugin_harbor.core.lifecycle import CONNECTED, ON_NODE
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, Load, NodeFacts, NodeState, Request
from tests.core.pool_machine import MESSAGES
from tests.core.pools import make_pool, of

NODES = st.sampled_from("abc")


class WhatWaitsIsPlaced(RuleBasedStateMachine):
    """Jobs are submitted and prepared at once. Nodes answer with every kind of failure."""

    def __init__(self):
        super().__init__()
        self.pool = make_pool("a", "b", "c")
        self.now = 1.0
        self.count = 0
        self.boots = 0

    def do(self, *events):
        actions = self.pool.handle(events, self.now)
        launches = of(act.Prepare, actions)
        if launches:
            self.do(*(ev.Prepared(launch.job, launch.attempt) for launch in launches))

    @rule(cores=st.integers(1, 2), again=st.booleans())
    def submit(self, cores, again):
        self.count += 1
        earlier_ids = (f"old/{self.count}",) if again else ()
        self.do(ev.Submitted((JobSpec(f"run/{self.count}", Request(cores=cores), earlier_ids=earlier_ids),)))

    @rule(data=st.data(), what=st.sampled_from(MESSAGES))
    def answer(self, data, what):
        present = [job for job in self.pool.jobs.values() if job.state in ON_NODE]
        if present:
            job = data.draw(st.sampled_from(present))
            self.do(what(job.node, job.spec.id, job.attempt))

    @rule(node=NODES)
    def down(self, node):
        self.do(ev.NodeDown(node, "closed"))

    @rule(node=NODES, knows=st.booleans(), reboots=st.booleans())
    def up(self, node, knows, reboots):
        self.boots += reboots
        jobs = [job for job in self.pool.jobs.values() if job.node == node and job.state in ON_NODE] if knows else []
        known = tuple(ev.NodeRecord(job.spec.id, job.attempt, running=True) for job in jobs)
        boot_id = f"boot-{node}-{self.boots}" if reboots else f"boot-{node}"
        self.do(ev.NodeUp(node, NodeFacts(cores=2, mem_mb=8000, boot_id=boot_id), known))

    @rule(node=NODES, busy=st.floats(0, 4), shared=st.booleans())
    def measure(self, node, busy, shared):
        self.do(ev.LoadMeasured(node, Load(busy=busy, mem_available_mb=8000, shared=shared)))

    @rule(seconds=st.sampled_from([0.5, 15.0, 130.0]))
    def time(self, seconds):
        self.now += seconds
        self.do(ev.Tick())

    @rule()
    def calm(self):
        """A minute passes, and every connected node measures that it is idle."""
        self.now += 61.0
        connected = [name for name, node in self.pool.nodes.items() if node.state in CONNECTED]
        self.do(ev.Tick(), *(ev.LoadMeasured(name, Load(mem_available_mb=8000)) for name in connected))
        idle = [node for node in self.pool.nodes.values() if node.state == NodeState.READY and not node.reservations]
        for job in self.pool.jobs.values():
            if job.state == JobState.QUEUED and not job.maybe_running_on and job.not_before <= self.now:
                assert all(permanent_reason(job.spec.request, node, self.pool.policy) for node in idle), job


TestWhatWaitsIsPlaced = WhatWaitsIsPlaced.TestCase
TestWhatWaitsIsPlaced.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
