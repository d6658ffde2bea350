"""A node's link: one connection at a time, and what a failure means after what has worked before."""

import queue
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.core.protocol import VERSION, Message
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.connection import IsCurrent
from snakemake_executor_plugin_harbor.remote.connection_end import HOST_KEY_PAUSE_S, LOGIN_PAUSE_S, REPAIR_PAUSE_S
from snakemake_executor_plugin_harbor.remote.link import Link
from snakemake_executor_plugin_harbor.remote.links import Links
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target
from tests.dead import dead_hosts
from tests.sshd import Pool, Sshd, keygen, public_key, wait_until

NODE = NodeSpec("node1", "node1")


class Way:
    """Links to the nodes of a pool, by one of the transports, and what they report."""

    def __init__(self, pool: Pool, kind: str, scratch: Path) -> None:
        self.pool = pool
        self.scratch = scratch
        self.reported: queue.SimpleQueue[tuple[ev.Event, IsCurrent]] = queue.SimpleQueue()
        self.kind = kind
        self.links = Links(self.link)
        self.made: list[Link] = []

    def link(self, spec: NodeSpec = NODE) -> Link:
        settings = SshSettings(self.pool.ssh_config, None)

        def welcome(node: NodeSpec) -> Message:
            probe = {"file": "/nowhere", "token": "x"}
            paths = {"scratch": str(self.scratch), "workdir": str(self.scratch.parent), "probe": probe}
            identity = {"run": "link", "owner": "link", "node": node.name}
            return {
                "t": "welcome",
                "v": VERSION,
                "umask": 0o77,
                "nice": 0,
                "load_every": 0.2,
                "same": [],
                **identity,
                **paths,
            }

        made = Link(
            spec,
            lambda node: make_transport(Target(node.name, node.host, node.user, node.port, False), self.kind, settings),
            welcome,
            lambda event, current: self.reported.put((event, current)),
            lambda *_: None,
        )
        self.made.append(made)
        return made

    def next(self, kind: type, timeout: float = 30) -> ev.Event:
        """The next event of a kind that is still current."""
        deadline = time.monotonic() + timeout
        while True:
            event, current = self.reported.get(timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(event, kind) and current():
                return event

    def up(self, link: Link) -> ev.NodeUp:
        link.connect()
        return self.next((ev.NodeUp, ev.NodeDown))  # type: ignore[arg-type, return-value]

    down: "Callable[[Way, Link], ev.NodeDown]" = up  # type: ignore[assignment]

    def lose(self, link: Link) -> ev.NodeDown:
        link.abort()
        return self.next(ev.NodeDown)  # type: ignore[return-value]

    def agents(self, name: str = "harbor-agent") -> list[int]:
        found = []
        for server in self.pool.servers.values():
            if server._process is not None:
                children = psutil.Process(server.pid).children(recursive=True)
                found += [process.pid for process in children if _name(process) == name]
        return found

    def close(self) -> None:
        self.links.close()
        for link in self.made:
            link.close()


def _name(process: psutil.Process) -> str:
    """Empty if the process has ended since it was listed."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(params=["paramiko", "openssh"])
def way(request, own_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("snakemake_executor_plugin_harbor.remote.link.JITTER_S", 0.0)
    own_pool.add("node1")
    made = Way(own_pool, request.param, tmp_path / "scratch")
    yield made
    made.close()


# --- what breaks a way, and how it is mended --------------------------------------------------------------------


class Break:
    """Something that keeps a node away. `pause`: of a rejection at the first connection; `later`: at a reconnect."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.pool = way.pool
        self.server: Sshd = way.pool["node1"]

    pause: float | None = REPAIR_PAUSE_S
    later: float | None = None

    def do(self) -> None: ...
    def undo(self) -> None: ...


class Login(Break):
    pause, later = None, LOGIN_PAUSE_S

    def do(self) -> None:
        self.pool.authorized.write_text("")

    def undo(self) -> None:
        self.pool.authorized.write_text(public_key(self.pool.key) + "\n")


class UnknownKey(Break):
    pause = HOST_KEY_PAUSE_S

    def do(self) -> None:
        self.pool.known_hosts.write_text("")

    def undo(self) -> None:
        self.pool.known_hosts.write_text("".join(self.server.known_hosts_lines()))


class ChangedKey(UnknownKey):
    def do(self) -> None:
        other = public_key(keygen(self.pool.directory / f"other-{time.monotonic_ns()}"))
        self.pool.known_hosts.write_text(f"{self.server.known_name} {other}\n")


class Name(Break):
    def do(self) -> None:
        text = self.pool.ssh_config.read_text()
        self.pool.ssh_config.write_text(text.replace(f"HostName {self.server.address}", "HostName nobody.invalid"))

    def undo(self) -> None:
        self.pool.write_config()


class Python(Break):
    """The Python that the host list names is a link, which is away."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.path = way.pool.directory / "python3"
        self.undo()

    def do(self) -> None:
        self.path.unlink()

    def undo(self) -> None:
        self.path.symlink_to(sys.executable)


class Scratch(Break):
    def do(self) -> None:
        shutil.rmtree(self.way.scratch, ignore_errors=True)
        self.way.scratch.symlink_to("/tmp")

    def undo(self) -> None:
        self.way.scratch.unlink()


BREAKS = [Login, UnknownKey, ChangedKey, Name, Python, Scratch]


def spec_for(broken: Break) -> NodeSpec:
    return replace(NODE, python=str(broken.path)) if isinstance(broken, Python) else NODE


@pytest.mark.parametrize("kind", BREAKS)
def test_what_never_worked_is_rejected_and_comes_back_when_it_is_mended(way: Way, kind: type[Break]) -> None:
    broken = kind(way)
    broken.do()
    link = way.link(spec_for(broken))
    down = way.down(link)
    assert isinstance(down, ev.NodeDown), down
    assert (down.permanent, down.pause) == (True, broken.pause), down
    broken.undo()
    assert isinstance(way.up(link), ev.NodeUp)


@pytest.mark.parametrize("kind", BREAKS)
def test_what_has_worked_is_never_rejected(way: Way, kind: type[Break]) -> None:
    broken = kind(way)
    link = way.link(spec_for(broken))
    assert isinstance(way.up(link), ev.NodeUp)
    assert way.lose(link).permanent is False
    broken.do()
    down = way.down(link)
    assert isinstance(down, ev.NodeDown), down
    assert (down.permanent, down.pause) == (False, broken.later), down
    broken.undo()
    assert isinstance(way.up(link), ev.NodeUp)


def test_a_login_that_worked_counts_even_if_the_agent_never_did(way: Way) -> None:
    python, login = Python(way), Login(way)
    python.do()
    link = way.link(spec_for(python))
    assert way.down(link).permanent
    login.do()
    down = way.down(link)
    assert (down.permanent, down.pause) == (False, LOGIN_PAUSE_S), down


# --- one connection per node ------------------------------------------------------------------------------------


def test_connect_while_a_connection_lives_ends_that_one_first(way: Way) -> None:
    link = way.link()
    assert isinstance(way.up(link), ev.NodeUp)
    (first,) = way.agents()
    assert isinstance(way.up(link), ev.NodeUp), "no news of the first one's end"
    wait_until(lambda: len(way.agents()) == 1, 10, "one agent")
    assert way.agents() != [first]
    wait_until(lambda: len(way.agents("harbor-guardian")) == 1, 10, "one guardian")
    way.next(ev.LoadMeasured)


def test_quick_connects_leave_one_agent(way: Way) -> None:
    for _ in range(6):
        way.links.connect(NODE)
        time.sleep(0.1)
    assert isinstance(way.next((ev.NodeUp, ev.NodeDown)), ev.NodeUp)  # type: ignore[arg-type]
    wait_until(lambda: len(way.agents()) == 1, 15, "one agent")
    way.next(ev.LoadMeasured)
    assert len(way.agents()) == len(way.agents("harbor-guardian")) == 1


def test_a_host_that_leaves_and_joins_another_way_has_one_agent(way: Way) -> None:
    way.links.connect(NODE)
    way.next(ev.NodeUp)
    most = 0
    for number in range(4):
        way.links.disconnect("node1")
        way.links.connect(replace(NODE, setup=f": {number}"))
        event = way.next((ev.NodeUp, ev.NodeDown))  # type: ignore[arg-type]
        assert isinstance(event, ev.NodeUp)
        most = max(most, len(way.agents()))
    assert most == 1
    way.links.close()
    wait_until(lambda: not way.agents() and not way.agents("harbor-guardian"), 10, "the end of all agents")


def test_the_same_way_with_other_slots_is_the_same_link(way: Way) -> None:
    """What has worked is remembered, and nothing is left open, when only slots or tags were edited."""
    login = Login(way)
    way.links.connect(NODE)
    way.next(ev.NodeUp)
    way.links.abort("node1")
    way.next(ev.NodeDown)
    login.do()
    way.links.connect(replace(NODE, slots=3, tags=frozenset({"big"})))
    down = way.next((ev.NodeUp, ev.NodeDown))  # type: ignore[arg-type]
    assert (down.permanent, down.pause) == (False, LOGIN_PAUSE_S), down  # type: ignore[union-attr]


def test_a_rejected_node_has_no_connection(way: Way) -> None:
    way.links.connect(NODE)
    way.next(ev.NodeUp)
    way.links.reject("node1")
    wait_until(lambda: not way.agents() and not way.agents("harbor-guardian"), 10, "the end of the agent")
    way.links.connect(NODE)
    assert isinstance(way.next((ev.NodeUp, ev.NodeDown)), ev.NodeUp)  # type: ignore[arg-type]
    assert len(way.agents()) == 1


def test_a_dial_that_hangs_is_given_up_for_the_next_one(way: Way, tmp_path: Path) -> None:
    """The host list had a typo, and the edit that mends it does not wait for the first dial's timeout."""
    good = way.pool.ssh_config.read_text()
    with dead_hosts(1, way.pool.ssh_config, way.pool.known_hosts) as dead:
        way.pool.ssh_config.write_text(way.pool.ssh_config.read_text().replace(f"Host {dead[0]}", "Host node1", 1))
        # ssh takes the first value that it finds.
        text = way.pool.ssh_config.read_text()
        way.pool.ssh_config.write_text(text[text.rindex("Host node1") :] + "\n" + good)
        way.links.connect(NODE)
        time.sleep(1)
        way.pool.ssh_config.write_text(good)
        begun = time.monotonic()
        way.links.connect(NODE)
        assert isinstance(way.next((ev.NodeUp, ev.NodeDown)), ev.NodeUp)  # type: ignore[arg-type]
        assert time.monotonic() - begun < 8
