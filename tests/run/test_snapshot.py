"""Snapshots: they equal the pool after every round, never change, and cost little. Nobody else reads the pool."""

import ast
import random
import time
from pathlib import Path

import snakemake_executor_plugin_harbor as harbor
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, Load, NodeFacts, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.run.snapshot import NodeSnapshot, SnapshotMaker

ROOT = Path(harbor.__file__).parent
READERS = {"dispatcher.py", "snapshot.py", "intake.py", "effects.py", "upkeep.py"}
"""The dispatcher and the objects that it uses on its own thread."""
LOAD = Load(mem_available_mb=8000, disk_free_mb=9000)


class Scene:
    """A pool of `count` nodes with its snapshots, and a clock of whole seconds."""

    def __init__(self, count):
        self.specs = [NodeSpec(f"n{i}", f"n{i}") for i in range(count)]
        self.pool = Pool(self.specs)
        self.maker = SnapshotMaker(self.pool)
        self.now = 0.0
        self.maker.update([], self.pool.connect_all())

    def handle(self, *events):
        self.now += 1
        return self.maker.update(events, self.pool.handle(events, self.now))

    def up(self, *names):
        return self.handle(*(ev.NodeUp(name, NodeFacts(cores=2, mem_mb=8000, boot_id=name)) for name in names))

    def names(self):
        return [spec.name for spec in self.specs]

    @property
    def latest(self):
        return self.maker.latest


def check(scene):
    """The latest snapshot is what a look at the whole pool would give."""
    latest, pool = scene.latest, scene.pool
    shown = {name: NodeSnapshot.of(node) for name, node in pool.nodes.items()}
    # A node that is drained may finish its jobs without a change of its state.
    assert {name: (n.spec, n.state, n.why, n.facts, n.slots, n.leaving) for name, n in latest.nodes.items()} == {
        name: (n.spec, n.state, n.why, n.facts, n.slots, n.leaving) for name, n in shown.items()
    }
    assert latest.slots == pool.slots()
    assert latest.idle == (not any(node.reservations for node in pool.nodes.values()))


def test_it_follows_nodes_and_jobs():
    scene = Scene(3)
    assert not scene.latest.all_nodes_answered() and scene.latest.idle and scene.latest.slots == 0
    assert scene.up("n0"), "there is more capacity"
    assert scene.latest.slots == 2 and scene.latest.is_connected("n0") and not scene.latest.is_connected("n1")
    scene.handle(ev.NodeDown("n1", "no route"), ev.NodeDown("n2", "wrong key", permanent=True))
    assert scene.latest.all_nodes_answered() and not scene.latest.all_nodes_decided()
    assert scene.latest.nodes["n2"].why == "wrong key"
    scene.handle(ev.LoadMeasured("n0", LOAD), ev.Submitted((JobSpec("run/1", Request()),)))
    assert not scene.latest.idle
    scene.handle(ev.DrainChanged("n0", "new disk"))
    assert scene.latest.nodes["n0"].shown_state == "draining"
    scene.handle(ev.Prepared("run/1", 1), ev.Exited("n0", "run/1", 1, 0, None))
    assert scene.latest.idle
    scene.handle(ev.DrainChanged("n0", "new disk"))
    assert scene.latest.nodes["n0"].shown_state == "drained"
    check(scene)


def test_it_follows_the_host_list():
    scene = Scene(2)
    scene.up("n0", "n1")
    scene.handle(ev.HostListChanged((NodeSpec("n1", "n1", slots=7), NodeSpec("new", "new"))))
    assert list(scene.latest.nodes) == ["n1", "new"] and scene.latest.nodes["n1"].slots == 7
    assert scene.latest.slots == 7
    check(scene)


def test_an_old_snapshot_does_not_change():
    scene = Scene(2)
    before = scene.latest
    scene.up("n0", "n1")
    assert before.nodes["n0"].state == NodeState.CONNECTING and before.slots == 0
    assert scene.latest.nodes["n0"].state == NodeState.READY


def test_nothing_is_made_while_nothing_changes():
    scene = Scene(2)
    scene.up("n0", "n1")
    before = scene.latest
    assert not scene.handle(ev.LoadMeasured("n0", LOAD), ev.Progressed("n0", "run/1", 1, 1, 2), ev.Tick(3))
    assert scene.latest is before


def test_it_equals_the_pool_whatever_happens():
    seeds = range(20)
    for seed in seeds:
        dice, scene = random.Random(seed), Scene(5)
        for number in range(200):
            name = dice.choice(scene.names())
            job = f"run/{dice.randrange(number + 1)}"
            spec = NodeSpec(name, name, slots=dice.choice([None, 1, 4]))
            scene.handle(
                *dice.sample(
                    [
                        ev.NodeUp(name, NodeFacts(cores=dice.choice([1, 2]), mem_mb=8000, boot_id=name)),
                        ev.NodeDown(name, "away", permanent=dice.random() < 0.1, pause=1.0),
                        ev.LoadMeasured(
                            name, Load(mem_available_mb=8000, disk_free_mb=9000, shared=dice.random() < 0.8)
                        ),
                        ev.Submitted((JobSpec(f"run/{number}", Request()),)),
                        ev.Prepared(job, 1),
                        ev.Started(name, job, 1),
                        ev.Refused(name, job, 1, dice.choice(["fork", "unshared", "job"])),
                        ev.Exited(name, job, 1, dice.choice([0, 1]), None),
                        ev.CancelJob(job),
                        ev.DrainChanged(name, dice.choice(["", "disk"])),
                        ev.HostListChanged((*(s for s in scene.specs if dice.random() < 0.8), spec)),
                        ev.Tick(dice.randrange(24)),
                    ],
                    k=dice.randrange(1, 4),
                )
            )
            check(scene)


def test_the_cost_does_not_grow_with_the_pool():
    """A hundred events of jobs on 256 nodes: the snapshot costs microseconds each."""
    scene = Scene(256)
    scene.up(*scene.names())
    scene.handle(*(ev.LoadMeasured(name, LOAD) for name in scene.names()))
    scene.handle(ev.Submitted(tuple(JobSpec(f"run/{i}", Request()) for i in range(100))))
    rounds = []
    for i in range(100):
        events = [ev.Prepared(f"run/{i}", 1)]
        rounds.append((events, scene.pool.handle(events, scene.now)))
    started = time.thread_time()
    for events, actions in rounds:
        scene.maker.update(events, actions)
    assert (time.thread_time() - started) / len(rounds) < 100e-6


def test_nobody_else_reads_the_pool():
    """Only the dispatcher's thread may look at the pool, because it changes at any moment."""
    for path in ROOT.rglob("*.py"):
        if path.parent.name == "core" or (path.parent.name == "run" and path.name in READERS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("nodes", "jobs", "waiting"):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
                assert owner.lstrip("_") != "pool", f"{path.name}:{node.lineno}"
