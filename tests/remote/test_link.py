"""A fault rejects a node only if the failing step never worked in this run."""

import shutil
import sys
import time
from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.remote.connection_end import HOST_KEY_PAUSE_S, LOGIN_PAUSE_S, REPAIR_PAUSE_S
from tests.remote.link_rig import NODE, LinkRig
from tests.sshd import Sshd, keygen, public_key


class Fault:
    """Keeps a node from being used, until it is repaired.

    `pause` is the pause after a rejection at the first connection. `later` is the pause at a reconnect.
    """

    def __init__(self, rig: LinkRig) -> None:
        self.rig = rig
        self.pool = rig.pool
        self.server: Sshd = rig.pool["node1"]

    pause: float | None = REPAIR_PAUSE_S
    later: float | None = None

    def cause(self) -> None: ...
    def repair(self) -> None: ...


class Login(Fault):
    pause, later = None, LOGIN_PAUSE_S

    def cause(self) -> None:
        self.pool.authorized.write_text("")

    def repair(self) -> None:
        self.pool.authorized.write_text(public_key(self.pool.key) + "\n")


class UnknownKey(Fault):
    pause = HOST_KEY_PAUSE_S

    def cause(self) -> None:
        self.pool.known_hosts.write_text("")

    def repair(self) -> None:
        self.pool.known_hosts.write_text("".join(self.server.known_hosts_lines()))


class ChangedKey(UnknownKey):
    def cause(self) -> None:
        other = public_key(keygen(self.pool.directory / f"other-{time.monotonic_ns()}"))
        self.pool.known_hosts.write_text(f"{self.server.known_name} {other}\n")


class Name(Fault):
    def cause(self) -> None:
        text = self.pool.ssh_config.read_text()
        self.pool.ssh_config.write_text(text.replace(f"HostName {self.server.address}", "HostName nobody.invalid"))

    def repair(self) -> None:
        self.pool.write_config()


class Python(Fault):
    """The Python that the host list names is a symbolic link, which is missing."""

    def __init__(self, rig: LinkRig) -> None:
        super().__init__(rig)
        self.path = rig.pool.directory / "python3"
        self.repair()

    def cause(self) -> None:
        self.path.unlink()

    def repair(self) -> None:
        self.path.symlink_to(sys.executable)


class Scratch(Fault):
    def cause(self) -> None:
        shutil.rmtree(self.rig.scratch, ignore_errors=True)
        self.rig.scratch.symlink_to("/tmp")

    def repair(self) -> None:
        self.rig.scratch.unlink()


FAULTS = [Login, UnknownKey, ChangedKey, Name, Python, Scratch]


def spec_for(fault: Fault) -> NodeSpec:
    return replace(NODE, python=str(fault.path)) if isinstance(fault, Python) else NODE


@pytest.mark.parametrize("kind", FAULTS)
def test_a_node_that_never_worked_is_rejected_and_comes_back_after_the_repair(rig: LinkRig, kind: type[Fault]) -> None:
    fault = kind(rig)
    fault.cause()
    link = rig.link(spec_for(fault))
    down = rig.connect(link)
    assert isinstance(down, ev.NodeDown), down
    assert (down.permanent, down.pause) == (True, fault.pause), down
    fault.repair()
    assert isinstance(rig.connect(link), ev.NodeUp)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_node_that_worked_before_is_never_rejected(rig: LinkRig, kind: type[Fault]) -> None:
    fault = kind(rig)
    link = rig.link(spec_for(fault))
    assert isinstance(rig.connect(link), ev.NodeUp)
    assert rig.abort(link).permanent is False
    fault.cause()
    down = rig.connect(link)
    assert isinstance(down, ev.NodeDown), down
    assert (down.permanent, down.pause) == (False, fault.later), down
    fault.repair()
    assert isinstance(rig.connect(link), ev.NodeUp)


def test_a_login_that_worked_counts_even_if_the_agent_never_did(rig: LinkRig) -> None:
    python, login = Python(rig), Login(rig)
    python.cause()
    link = rig.link(spec_for(python))
    assert rig.connect(link).permanent
    login.cause()
    down = rig.connect(link)
    assert (down.permanent, down.pause) == (False, LOGIN_PAUSE_S), down
