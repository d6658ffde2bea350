"""Few connections log in at once, known hosts go first, and a host that does not answer does not delay the others."""

import threading
import time

import pytest

from snakemake_executor_plugin_harbor.remote.ssh.login_limits import ConcurrencyLimit
from snakemake_executor_plugin_harbor.remote.transport import ConnectError
from tests.remote.conftest import target
from tests.sshd import wait_until


class Crowd:
    """Runs threads that want a place. Each one that has a place keeps it until the test releases it."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.places = limit
        self.inside: list[str] = []
        self.go: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def come(self, name: str, limit: float = 60.0, first: bool = False) -> None:
        self.go[name] = threading.Event()
        thread = threading.Thread(target=self._pass, args=(name, limit, first), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _pass(self, name: str, limit: float, first: bool) -> None:
        with self.places.hold(limit, first) as keep:
            self.inside.append(name)
            self.go[name].wait()
            keep(1.0)

    def end(self) -> None:
        for event in self.go.values():
            event.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def waiting(limit: ConcurrencyLimit) -> int:
    return len(limit._waiting)


def test_width_order_and_precedence():
    crowd = Crowd(ConcurrencyLimit(1))
    crowd.come("a")
    wait_until(lambda: crowd.inside == ["a"])
    for number, name in enumerate(["b", "c"], 1):
        crowd.come(name)
        wait_until(lambda number=number: waiting(crowd.places) == number)
    for name in ("known1", "known2"):  # the reserved places
        crowd.come(name, first=True)
        wait_until(lambda name=name: name in crowd.inside)
    crowd.come("known3", first=True)
    wait_until(lambda: waiting(crowd.places) == 3)
    assert crowd.inside == ["a", "known1", "known2"]
    for name in ("a", "known1", "known2"):
        crowd.go[name].set()
    wait_until(lambda: crowd.inside[3:] == ["known3"])
    crowd.go["known3"].set()
    wait_until(lambda: crowd.inside[4:] == ["b"])
    crowd.end()
    assert crowd.inside[5:] == ["c"]


def test_who_stalls_is_not_counted_any_more():
    crowd = Crowd(ConcurrencyLimit(2))
    for number in range(20):
        crowd.come(f"dead{number}", limit=0.1)
    crowd.come("alive", first=True)
    begun = time.monotonic()
    wait_until(lambda: "alive" in crowd.inside, 10)
    assert len(crowd.inside) < 20, "it did not wait for all of them"
    assert time.monotonic() - begun < 5
    wait_until(lambda: len(crowd.inside) == 21, 30)
    crowd.end()
    assert not crowd.places._expiry and not crowd.places._waiting


@pytest.mark.parametrize(("route", "limit"), [("direct", 10), ("jump", 14)])
def test_a_server_with_the_usual_limits_drops_nobody(client, own_pool, route, limit):
    """sshd accepts ten unauthenticated connections and drops others at random.

    Behind a jump host, we cannot know when the ssh program is logged in there. So there may be some more of them on a
    busy machine.
    """
    server = own_pool.add("node1", [f"MaxStartups {limit}:100:{limit}", "MaxSessions 100"])
    names = [f"alias{number}" for number in range(16)]
    block = own_pool.ssh_config.read_text().split("Host node1\n")[1]
    with own_pool.ssh_config.open("a") as file:
        for name in names:
            file.write(f"\nHost {name}\n{block}")
            if route == "jump":
                file.write("  ProxyJump node1\n")
    failed: list[Exception] = []

    def open_one(name: str) -> None:
        try:
            client.open(own_pool.ssh_config, target(name))
        except ConnectError as error:
            failed.append(error)

    threads = [threading.Thread(target=open_one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert "drop connection" not in server.log()
