"""A hypothesis state machine that gives a pool events in any order and checks its invariants."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.lifecycle import HOLDING, ON_NODE, TERMINAL
from snakemake_executor_plugin_harbor.core.model import (
    JobSpec,
    JobState,
    Load,
    NodeFacts,
    NodeSpec,
    Request,
    Reservation,
)
from tests.core.pools import make_pool, of

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


"""The events that a node may report about an attempt."""


class AnyOrder(RuleBasedStateMachine):
    """Events of nodes, Snakemake and the clock in any order, late, twice or never. The pool stays consistent."""

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
            # Only then, because the user may give a node fewer slots than its jobs hold.
            node = self.pool.nodes[launch.node]
            assert node.reservations.cores <= node.slots
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

    @rule(node=st.sampled_from("abc"))
    def forget(self, node):
        self.do(ev.NodeForgotten(node))

    @rule(job=jobs, node=st.sampled_from("abc"), attempt=st.integers(1, 3), ended=st.booleans())
    def adopt(self, job, node, attempt, ended):
        """Report an old attempt, as a node does that answers late."""
        queued = self.pool.jobs.get(job)
        if queued is None or queued.state != JobState.QUEUED or not queued.spec.earlier_ids:
            return
        earlier_ids, slot = queued.spec.earlier_ids[0], self.free_slot(node)
        if slot is not None:
            exit = {"code": 0, "reason": None} if ended else None
            self.do(ev.Adopted(earlier_ids, attempt, node, Reservation((slot,)), exit, submitted_as=job))

    def free_slot(self, name):
        node = self.pool.nodes.get(name)
        free = set(range(node.slots)) - set(node.reservations.slots) if node is not None else None
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
        """No more messages about this job arrive."""

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
