"""If a node cannot be reached, users get the same message from both SSH transports."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.ssh.errors import kind_of_error, kind_of_text
from snakemake_executor_plugin_harbor.remote.transport import ConnectError, SshSettings
from tests.remote.conftest import Client, target
from tests.sshd import Pool, free_port


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Make a socket that listens and never accepts. The kernel completes connections until its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as made:
        yield made


def config_for(directory: Path, port: int, *lines: str) -> Path:
    path = directory / "ssh_config"
    block = ["Host ada", "HostName 127.0.0.1", f"Port {port}", "UserKnownHostsFile /dev/null", *lines]
    path.write_text("\n  ".join(block) + "\n")
    return path


def test_refused_port(client: Client, tmp_path: Path) -> None:
    port = free_port()
    error = client.fails(config_for(tmp_path, port), target("ada"))
    assert error.kind == "refused"
    assert not error.permanent
    assert f"127.0.0.1 port {port}" in error.message
    assert error.hint == f"ssh -v -F {tmp_path}/ssh_config ada"


def test_filtered_port(client: Client, tmp_path: Path, listener: socket.socket) -> None:
    """If the queue is full, the kernel drops further SYN packets, as a firewall does."""
    address = listener.getsockname()
    queued = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        queued.append(sock)
    begun = time.monotonic()
    error = client.fails(config_for(tmp_path, address[1]), target("ada"), timeout=1)
    assert error.kind == "timeout"
    assert not error.permanent
    assert "within 1 s" in error.message
    assert time.monotonic() - begun < 3
    for sock in queued:
        sock.close()


def test_silent_server(client: Client, tmp_path: Path, listener: socket.socket) -> None:
    config = config_for(tmp_path, listener.getsockname()[1], "ConnectTimeout 1")
    error = client.fails(config, target("ada"), timeout=30)
    assert error.kind == "timeout"
    assert "within 1 s" in error.message


def test_a_server_that_hangs_up(client: Client, tmp_path: Path, listener: socket.socket) -> None:
    def serve() -> None:
        listener.accept()[0].close()

    threading.Thread(target=serve, daemon=True).start()
    error = client.fails(config_for(tmp_path, listener.getsockname()[1]), target("ada"))
    assert error.kind == "closed"
    assert not error.permanent


def test_something_else_listens_there(client: Client, tmp_path: Path, listener: socket.socket) -> None:
    def serve() -> None:
        with listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.0 400 Bad Request\r\n" * 200)

    threading.Thread(target=serve, daemon=True).start()
    error = client.fails(config_for(tmp_path, listener.getsockname()[1]), target("ada"), timeout=2)
    assert error.kind in ("other", "closed", "timeout")


def test_unknown_host_name(client: Client, tmp_path: Path) -> None:
    config = tmp_path / "empty"
    config.touch()
    error = client.fails(config, target("ada", host="no-such-host.invalid"))
    assert error.kind == "name"
    assert "no-such-host.invalid" in error.message
    assert error.hint == "getent hosts no-such-host.invalid"


def test_a_configuration_that_is_not_there(client: Client, tmp_path: Path) -> None:
    error = client.fails(tmp_path / "missing", target("ada"))
    assert error.kind == "config"
    assert error.permanent
    assert str(tmp_path / "missing") in error.message


def test_a_configuration_that_is_not_valid(client: Client, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host ada\n  Prot 22\n")
    error = client.fails(config, target("ada"))
    assert error.kind == "config"
    assert "line 2" in error.message


def test_close_ends_a_connection_that_is_being_made(client: Client, tmp_path: Path, listener: socket.socket) -> None:
    transport = client.transport(config_for(tmp_path, listener.getsockname()[1]), target("ada"), timeout=20)
    errors: list[ConnectError] = []

    def connect() -> None:
        try:
            transport.open("true")
        except ConnectError as error:
            errors.append(error)

    opener = threading.Thread(target=connect)
    opener.start()
    with listener.accept()[0] as connection:
        connection.recv(1)  # it is connected, and waits for a greeting
        begun = time.monotonic()
        transport.close()
        opener.join(10)
    assert [error.kind for error in errors] == ["closed"]
    assert time.monotonic() - begun < 3


def test_a_server_that_dies_ends_the_channel(client: Client, own_pool: Pool) -> None:
    server = own_pool.add("node1")
    channel = client.open(own_pool.ssh_config, target("node1"), "echo up; exec sleep 60")
    assert channel.read() == b"up\n"
    server.drop()
    assert channel.read() == b""
    with pytest.raises(OSError):
        for _ in range(100):
            channel.write(bytes(65536))


def test_the_answers_of_the_system_have_names() -> None:
    assert kind_of_error(ConnectionRefusedError(111, "Connection refused")) == "refused"
    assert kind_of_error(OSError(113, "No route to host")) == "unreachable"
    assert kind_of_error(OSError(101, "Network is unreachable")) == "unreachable"
    assert kind_of_error(TimeoutError()) == "timeout"
    assert kind_of_error(socket.gaierror(-2, "Name or service not known")) == "name"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ssh: connect to host ada port 22: Connection refused", "refused"),
        ("ssh: connect to host ada port 22: No route to host", "unreachable"),
        ("ssh: connect to host ada port 22: Connection timed out", "timeout"),
        ("Connection timed out during banner exchange", "timeout"),
        ("ssh: Could not resolve hostname ada: Name or service not known", "name"),
        ("carol@ada: Permission denied (publickey,password).", "auth"),
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures", "auth"),
        ("Host key verification failed.", "host_key_unknown"),
        ("Unable to negotiate with 10.0.0.1 port 22: no matching key exchange method found.", "config"),
        ("kex_exchange_identification: read: Connection reset by peer", "closed"),
        ("channel 0: open failed: administratively prohibited: open failed", "proxy"),
        ("something new", "other"),
    ],
)
def test_the_sentences_of_ssh_have_names(text: str, kind: str) -> None:
    assert kind_of_text(text) == kind


def test_a_name_server_that_does_not_answer_is_not_for_good(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if client.kind != "paramiko":
        pytest.skip("ssh has its own resolver")

    def no_answer(*arguments: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    error = client.fails(config_for(tmp_path, 22), target("ada"))
    assert (error.kind, error.permanent) == ("name", False)


def test_settings_do_not_show_the_password() -> None:
    settings = SshSettings(None, "s3cret")
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(vars(make_transport(target("ada"), "paramiko", settings)))
