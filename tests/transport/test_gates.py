"""Gates: so many at once, known hosts first, and nobody who stalls holds up the others."""

import threading
import time

from snakemake_executor_plugin_harbor.remote.gates import Gate
from tests.sshd import wait_until


class Crowd:
    """Threads that want to pass a gate. Each stays until it is let go."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.inside: list[str] = []
        self.go: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def come(self, name: str, limit: float = 60.0, first: bool = False) -> None:
        self.go[name] = threading.Event()
        thread = threading.Thread(target=self._pass, args=(name, limit, first), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _pass(self, name: str, limit: float, first: bool) -> None:
        with self.gate.hold(limit, first) as keep:
            self.inside.append(name)
            self.go[name].wait()
            keep(1.0)

    def end(self) -> None:
        for event in self.go.values():
            event.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def waiting(gate: Gate) -> int:
    return len(gate._waiting)


def test_width_order_and_precedence():
    crowd = Crowd(Gate(1))
    for number, name in enumerate(["a", "b", "c"]):
        crowd.come(name)
        wait_until(lambda number=number: len(crowd.inside) + waiting(crowd.gate) == number + 1)
    crowd.come("known", first=True)
    wait_until(lambda: waiting(crowd.gate) == 3)
    assert crowd.inside == ["a"]
    for number, name in enumerate(["a", "known", "b"], 2):
        crowd.go[name].set()
        wait_until(lambda number=number: len(crowd.inside) == number)
    assert crowd.inside == ["a", "known", "b", "c"]
    crowd.end()


def test_who_stalls_is_not_counted_any_more():
    crowd = Crowd(Gate(2))
    for number in range(20):
        crowd.come(f"dead{number}", limit=0.1)
    crowd.come("alive", first=True)
    begun = time.monotonic()
    wait_until(lambda: "alive" in crowd.inside, 10)
    assert len(crowd.inside) < 20, "it did not wait for all of them"
    assert time.monotonic() - begun < 5
    wait_until(lambda: len(crowd.inside) == 21, 30)
    crowd.end()
    assert not crowd.gate._inside and not crowd.gate._waiting
