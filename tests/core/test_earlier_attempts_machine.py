"""Attempts of earlier runs, with nodes that connect and disconnect in any order. No job starts while its old attempt
may run, and every job starts in the end.

The test knows what really runs. A cancel message reaches only a node that is connected. A fence ends an attempt within
`FENCE_WAIT` on any node.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import (
    AttemptLocation,
    JobSpec,
    Load,
    NodeSpec,
    NodeState,
    Request,
    Reservation,
)
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.timeouts import Timeouts
from tests.core.test_earlier_attempts import FENCE_WAIT, LOST_AFTER, facts, place

POOL = "abc"
NODES = st.sampled_from(POOL)


@dataclass
class Old:
    """An attempt of an earlier run. Its `node` may not be in the pool."""

    node: str
    alive: bool
    fenced_at: float | None = None
    cancelled: bool = False


class Earlier(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pool = Pool([NodeSpec(n, n) for n in POOL], timeouts=Timeouts(LOST_AFTER, FENCE_WAIT))
        self.pool.connect_all()
        self.now = 1.0
        self.old: dict[str, Old] = {}
        self.open: set[str] = set()
        self.handed_over: set[str] = set()
        self.listed = set(POOL)

    def do(self, *events):
        for action in self.pool.handle(events, self.now):
            match action:
                case act.Fence(job, _) if job in self.old and self.old[job].fenced_at is None:
                    self.old[job].fenced_at = self.now
                case act.SendMessage(node, message) if message["t"] == "cancel" and message["job"] in self.old:
                    # Messages to a node without a connection are dropped.
                    self.old[message["job"]].cancelled |= self.ready(node)
                case act.Prepare(job, attempt):
                    earlier_ids = self.old["old/" + job.partition("/")[2]]
                    assert not earlier_ids.alive, (job, earlier_ids)
                    self.open.discard(job)
                    self.do(ev.PrepareFailed(job, attempt, "cached"))

    def ready(self, node: str) -> bool:
        return node in self.pool.nodes and self.pool.nodes[node].state == NodeState.READY

    @rule(node=st.sampled_from("abcx"), alive=st.booleans())
    def leave(self, node, alive):
        """An earlier run has started an attempt. On a node that has answered, nothing runs but what it has listed."""
        answered = node in self.pool.nodes and self.pool.nodes[node].facts is not None
        self.old[f"old/{len(self.old)}"] = Old(node, alive and not answered)

    @rule(data=st.data(), known=st.booleans())
    def submit(self, data, known):
        rest = sorted(set(self.old) - self.handed_over)
        if not rest:
            return
        id = data.draw(st.sampled_from(rest))
        self.handed_over.add(id)
        job = id.replace("old", "run")
        self.open.add(job)
        where = place(self.old[id].node) if known else AttemptLocation()
        self.do(ev.Submitted((JobSpec(job, Request(), earlier_ids=(id,), locations={id: where}),)))

    @rule(node=NODES)
    def up(self, node):
        if node in self.pool.nodes and self.pool.nodes[node].state == NodeState.CONNECTING:
            runs = [id for id, old in self.old.items() if old.node == node and old.alive]
            known = tuple(ev.NodeRecord(id, 1, running=True) for id in runs)
            self.do(ev.NodeUp(node, facts(node), known), ev.LoadMeasured(node, Load(mem_available_mb=8000)))

    @rule(node=NODES)
    def down(self, node):
        for old in self.old.values():
            if old.node == node:
                old.cancelled = False  # The message may not have arrived.
        self.do(ev.NodeDown(node, "closed"))

    @rule()
    def deliver(self):
        """Cancelled attempts on connected nodes have ended."""
        for id, old in self.old.items():
            if old.cancelled and old.alive and self.ready(old.node):
                old.alive = False
                self.do(ev.Exited(old.node, id, 1, -15, "cancelled"))

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0]))
    def time(self, seconds):
        self.now += seconds
        for id, old in self.old.items():
            if old.fenced_at is not None and old.alive and self.now - old.fenced_at >= FENCE_WAIT:
                old.alive = False
                if self.ready(old.node):
                    self.do(ev.Exited(old.node, id, 1, -15, "fenced"))
        self.do(ev.Tick())

    @rule(names=st.sets(NODES, min_size=1))
    def edit_hosts(self, names):
        """A node leaves the pool and never answers again."""
        self.listed &= names | {"a"}
        self.do(ev.HostListChanged(tuple(NodeSpec(n, n) for n in sorted(self.listed))))

    @rule(node=NODES)
    def adopt_what_is_gone(self, node):
        """An adoption that comes too late changes nothing."""
        self.do(ev.Adopted("old/999", 1, node, Reservation((0,)), None, submitted_as="run/999"))

    def teardown(self):
        """In the end all nodes answer, and every job starts."""
        for _ in range(40):
            for node in sorted(self.listed):
                self.up(node)
            self.deliver()
            self.time(30.0)
        assert not self.open, {id: dict(self.pool.jobs[id].refusal.reasons) for id in self.open if id in self.pool.jobs}


TestEarlier = Earlier.TestCase
TestEarlier.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
