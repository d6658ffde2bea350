"""The pauses before a node is tried again: after a lost connection, while no node has answered, and when the user has
to act.
"""

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import NodeFacts, NodeSpec, NodeState
from snakemake_executor_plugin_harbor.core.node_table import BACKOFF_S, OPENING_PAUSE_S, STEADY_S, STRANGER_BACKOFF_S
from snakemake_executor_plugin_harbor.core.pool import Pool

FACTS = NodeFacts(cores=2, mem_mb=8000, boot_id="b", shared=True)


class Run:
    """A pool and a clock."""

    def __init__(self, *names: str) -> None:
        self.pool = Pool([NodeSpec(name, name) for name in names])
        self.pool.connect_all()
        self.now = 0.0

    def handle(self, *events: ev.Event) -> list[act.Action]:
        return self.pool.handle(events, self.now)

    def up(self, name: str) -> None:
        self.handle(ev.NodeUp(name, FACTS))

    def down(self, name: str, permanent: bool = False, pause: float | None = None) -> None:
        self.handle(ev.NodeDown(name, "why", permanent, pause))

    def pause(self, name: str, limit: float = 2000) -> float | None:
        """Return the seconds until the node is tried again."""
        begun = self.now
        while self.now < begun + limit:
            self.now += 0.5
            if any(isinstance(a, act.Connect) and a.node.name == name for a in self.handle(ev.Tick())):
                return self.now - begun
        return None

    def pauses(self, name: str, count: int, **down: object) -> list[float | None]:
        found = []
        for _ in range(count):
            self.down(name, **down)  # type: ignore[arg-type]
            found.append(self.pause(name))
        return found


def test_a_node_that_was_there_is_tried_at_least_every_minute():
    run = Run("a")
    run.up("a")
    assert run.pauses("a", 9) == [*BACKOFF_S, 60, 60]


def test_a_connection_that_held_resets_the_pauses_and_one_that_did_not_does_not():
    run = Run("a")
    run.up("a")
    run.pauses("a", 4)
    run.up("a")
    run.now += STEADY_S - 1
    assert run.pauses("a", 1) == [BACKOFF_S[4]]
    run.up("a")
    run.now += STEADY_S
    assert run.pauses("a", 2) == list(BACKOFF_S[:2])


def test_a_node_that_never_answered_is_tried_every_ten_minutes_in_the_end():
    run = Run("a", "b")
    run.up("b")
    assert run.pauses("a", 12) == [*STRANGER_BACKOFF_S, 600, 600]
    run.up("a")
    assert run.pauses("a", 1) == [60.0], "the row of failures goes on"
    run.up("a")
    run.now += STEADY_S
    assert run.pauses("a", 1) == [1.0]


def test_while_nobody_has_answered_all_are_tried_again_at_once():
    run = Run("a", "b")
    assert run.pauses("a", 20) == [OPENING_PAUSE_S] * 20
    run.up("b")
    assert run.pauses("a", 3) == list(STRANGER_BACKOFF_S[:3]), "what failed at the start is no row of failures"


def test_a_pause_that_the_link_asks_for_holds():
    run = Run("a")
    run.up("a")
    assert run.pauses("a", 7, pause=60.0) == [60.0] * 7


def test_a_rejected_node_comes_back_if_it_may():
    run = Run("a", "b")
    run.up("b")
    assert run.pauses("a", 3, permanent=True, pause=300.0) == [300.0] * 3
    run.up("a")
    assert run.pool.nodes["a"].state == NodeState.READY


def test_one_whose_login_was_refused_waits_for_the_user():
    run = Run("a", "b")
    run.up("b")
    run.down("a", permanent=True)
    assert run.pause("a") is None and run.pool.nodes["a"].state == NodeState.REJECTED
    assert any(isinstance(action, act.Connect) for action in run.handle(ev.DrainChanged("a", "")))


def test_resume_is_tried_once_and_not_again_when_the_old_pause_is_over():
    run = Run("a", "b")
    run.up("b")
    run.down("a", permanent=True, pause=300.0)
    run.handle(ev.DrainChanged("a", ""))
    run.down("a", permanent=True)
    assert run.pause("a") is None
