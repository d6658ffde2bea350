"""Fixtures: channels by each of the three transports, and a pool of real SSH servers that most tests share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import Channel, ConnectError, SshSettings, Target, Transport
from tests.remote.link_rig import LinkRig
from tests.sshd import SSHD, Pool, hosts

Open = Callable[..., Channel]


def target(name: str, host: str | None = None, user: str | None = None, port: int | None = None) -> Target:
    return Target(name, host or name, user, port, local=False)


class Client:
    """Opens connections of one kind and closes them all at the end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.transports: list[Transport] = []

    def transport(self, config: Path | None, to: Target, password: str | None = None, timeout: float = 10) -> Transport:
        made = make_transport(to, self.kind, SshSettings(config, password, timeout))
        self.transports.append(made)
        return made

    def open(self, config: Path | None, to: Target, command: str = "true", **settings: object) -> Channel:
        return self.transport(config, to, **settings).open(command)  # type: ignore[arg-type]

    def says(self, config: Path | None, to: Target, command: str, **settings: object) -> str:
        """Return what `command` writes to stdout."""
        return everything(self.open(config, to, command, **settings)).decode()

    def fails(self, config: Path | None, to: Target, **settings: object) -> ConnectError:
        """Return the error of a connection that must fail. It must name the node and the next command to type."""
        with pytest.raises(ConnectError) as caught:
            self.open(config, to, **settings)
        error = caught.value
        assert error.message.startswith(f"node {to.name}: ")
        assert error.hint, f"no hint: {error}"
        assert "Traceback" not in str(error)
        return error

    def close(self) -> None:
        for made in self.transports:
            made.close()


def everything(channel: Channel) -> bytes:
    return b"".join(iter(channel.read, b""))


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Run two servers, node1 and node2. Tests that change something on servers use `own_pool`."""
    if SSHD is None:
        pytest.skip("no sshd on this machine")
    with hosts(2, tmp_path_factory.mktemp("pool")) as made:
        yield made


@pytest.fixture
def own_pool(tmp_path: Path) -> Iterator[Pool]:
    """Make an empty pool for a test that adds the servers that it needs."""
    if SSHD is None:
        pytest.skip("no sshd on this machine")
    with hosts(0, tmp_path / "pool") as made:
        yield made


@pytest.fixture(params=["paramiko", "openssh"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Run the test with both SSH transports. They do not find the ssh-agent of the user who runs the tests."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made = Client(request.param)
    yield made
    made.close()


@pytest.fixture(params=["local", "paramiko", "openssh"])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Run the test with all three transports. `opened(command)` returns a channel to that command."""
    with ExitStack() as stack:
        if request.param == "local":
            made, config, to = Client("paramiko"), None, Target("localhost", "localhost", None, None, local=True)
        else:
            servers: Pool = request.getfixturevalue("pool")
            made, config, to = Client(request.param), servers.ssh_config, target("node1")
        stack.callback(made.close)
        yield lambda command: made.open(config, to, command)


@pytest.fixture(params=["paramiko", "openssh"])
def rig(
    request: pytest.FixtureRequest, own_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LinkRig]:
    """Run the test with links to a server named node1, by both SSH transports."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("snakemake_executor_plugin_harbor.remote.link.JITTER_S", 0.0)
    own_pool.add("node1")
    made = LinkRig(own_pool, request.param, tmp_path / "scratch")
    yield made
    made.close()
