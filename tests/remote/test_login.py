"""A login offers each key and the password once, and the error of a refused login says what was tried."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.remote.conftest import Client, target
from tests.remote.password_server import PasswordServer, serving
from tests.sshd import Pool, keygen, public_key, wait_until

NODE = target("node1")
SECRET = "c0rrect-horse"


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def ssh_agent(*keys: tuple[Path, str]) -> Iterator[str]:
    """Run an ssh-agent that holds `keys` (file, passphrase). Yields the path of its socket."""
    directory = Path(tempfile.mkdtemp(prefix="harbor-agent-"))
    path = directory / "socket"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    askpass = directory / "askpass"
    askpass.write_text('#!/bin/sh\nprintf "%s\\n" "$PASSPHRASE"\n')
    askpass.chmod(0o700)
    try:
        wait_until(lambda: listens(path), 10, "an ssh-agent that answers")
        for key, passphrase in keys:
            env = {**os.environ, "SSH_AUTH_SOCK": str(path), "PASSPHRASE": passphrase}
            env |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
            subprocess.run(["ssh-add", "-q", key], env=env, check=True, stdin=subprocess.DEVNULL)
        yield str(path)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory)


def authorize(pool: Pool, key: Path) -> None:
    with pool.authorized.open("a") as file:
        file.write(public_key(key) + "\n")


def test_wrong_key(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    server = own_pool.add("node1")
    own_pool.key = wrong
    own_pool.write_config()
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "auth"
    assert error.permanent
    assert f"login as {server.user} at {server.address} port {server.port}" in error.message
    assert "publickey" in error.message
    assert error.hint == f"ssh-copy-id -F {own_pool.ssh_config} node1"
    assert server.log().count("Failed publickey") == 1


def test_no_key_at_all(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    own_pool.add("node1")
    own_pool.key = tmp_path / "missing"
    own_pool.write_config()
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "auth"
    assert client.kind == "openssh" or str(tmp_path / "missing") in error.message


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_types_of_key(client: Client, own_pool: Pool, tmp_path: Path, kind: str) -> None:
    own_pool.add("node1")
    own_pool.key = keygen(tmp_path / kind, kind)
    authorize(own_pool, own_pool.key)
    own_pool.write_config()
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_key_with_a_passphrase_and_no_agent(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    own_pool.add("node1")
    own_pool.key = keygen(tmp_path / "locked", passphrase="open sesame")
    authorize(own_pool, own_pool.key)
    own_pool.write_config()
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "auth"
    assert f"{own_pool.key} has a passphrase and is not in ssh-agent" in error.message
    assert error.hint == f'eval "$(ssh-agent)" && ssh-add {own_pool.key}'


@pytest.mark.parametrize("public_beside", [True, False])
def test_key_with_a_passphrase_in_the_agent(
    client: Client, own_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_beside: bool
) -> None:
    """IdentitiesOnly is set, so the agent's key must be recognised by the public key of the file."""
    own_pool.add("node1")
    own_pool.key = keygen(tmp_path / "locked", passphrase="open sesame")
    authorize(own_pool, own_pool.key)
    own_pool.write_config()
    with ssh_agent((own_pool.key, "open sesame")) as path:
        if not public_beside:
            own_pool.key.with_name("locked.pub").unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_identity_agent_and_the_public_half_alone(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    key = keygen(tmp_path / "key")
    authorize(own_pool, key)
    with ssh_agent((key, "")) as path:
        key.unlink()
        own_pool.add("node1", client=[f"IdentityAgent {path}"])
        own_pool.key = tmp_path / "key.pub"
        own_pool.write_config()
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_the_key_of_the_file_comes_before_the_agent_s_others(
    client: Client, own_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [(keygen(tmp_path / f"other{n}"), "") for n in range(4)]
    own_pool.add("node1", options=["MaxAuthTries 2"], client=["IdentitiesOnly no"])
    with ssh_agent(*others, (own_pool.key, "")) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_an_agent_with_too_many_keys(
    client: Client, own_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [(keygen(tmp_path / f"other{n}"), "") for n in range(4)]
    own_pool.add("node1", options=["MaxAuthTries 2"], client=["IdentitiesOnly no"])
    own_pool.key = tmp_path / "missing"
    own_pool.write_config()
    with ssh_agent(*others) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "auth"
    assert error.permanent


def test_an_agent_that_is_gone(client: Client, own_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    own_pool.add("node1")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_a_certificate(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    authority = keygen(tmp_path / "authority")
    server = own_pool.add("node1", options=[f"TrustedUserCAKeys {authority}.pub"])
    own_pool.key = keygen(tmp_path / "key")
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", "-n", server.user, f"{own_pool.key}.pub"]
    subprocess.run(argv, check=True)
    own_pool.write_config()
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def config_for(server: PasswordServer, directory: Path, *lines: str) -> Path:
    known = directory / "known_hosts"
    known.write_text(server.known_hosts_line)
    path = directory / "ssh_config"
    block = ["Host node1", "HostName 127.0.0.1", f"Port {server.port}", f"UserKnownHostsFile {known}"]
    path.write_text("\n  ".join([*block, "User carol", f"IdentityFile {directory}/none", *lines]) + "\n")
    return path


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_password(client: Client, tmp_path: Path, method: str) -> None:
    with serving(PasswordServer(SECRET, [method])) as server:
        config = config_for(server, tmp_path)
        assert client.says(config, NODE, "x", password=SECRET) == "in\n"
        assert server.tried == [method]


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_wrong_password_is_tried_once_and_not_shown(
    client: Client, tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(PasswordServer("another", [method])) as server:
        error = client.fails(config_for(server, tmp_path), NODE, password=SECRET)
        assert server.tried == [method]
    assert error.kind == "auth"
    assert SECRET not in str(error) + repr(error) + caplog.text


def test_no_password_is_sent_when_none_is_given(client: Client, tmp_path: Path) -> None:
    with serving(PasswordServer(SECRET)) as server:
        assert client.fails(config_for(server, tmp_path), NODE).kind == "auth"
        assert server.tried == []


def test_a_key_first_then_the_password(client: Client, tmp_path: Path) -> None:
    keygen(tmp_path / "none")
    with serving(PasswordServer(SECRET, ["publickey", "password"], all_of_them=True)) as server:
        assert client.says(config_for(server, tmp_path), NODE, "x", password=SECRET) == "in\n"
        assert "password" in server.tried


def test_the_key_is_enough_where_it_is(client: Client, tmp_path: Path) -> None:
    keygen(tmp_path / "none")
    with serving(PasswordServer(SECRET, ["password", "publickey"])) as server:
        assert client.says(config_for(server, tmp_path), NODE, "x", password=SECRET) == "in\n"
        assert "password" not in server.tried


def test_keys_can_be_switched_off(client: Client, tmp_path: Path) -> None:
    keygen(tmp_path / "none")
    with serving(PasswordServer(SECRET, ["publickey", "password"])) as server:
        config = config_for(server, tmp_path, "PubkeyAuthentication no")
        assert client.says(config, NODE, "x", password=SECRET) == "in\n"
        assert server.tried == ["password"]


def test_a_host_that_asks_for_nothing(client: Client, tmp_path: Path) -> None:
    with serving(PasswordServer(SECRET, [])) as server:
        assert client.says(config_for(server, tmp_path), NODE, "x") == "in\n"


@pytest.mark.parametrize("prompts", [("Verification code: ",), ("Password: ", "Code: ")])
def test_other_questions_do_not_get_the_password_twice(
    client: Client, tmp_path: Path, prompts: tuple[str, ...]
) -> None:
    with serving(PasswordServer(SECRET, ["keyboard-interactive"], prompts=prompts)) as server:
        assert client.fails(config_for(server, tmp_path), NODE, password=SECRET).kind == "auth"
        assert [SECRET] not in server.answers
        assert [SECRET, SECRET] not in server.answers


def test_an_unchecked_host_key_that_changed_gets_no_password(client: Client, tmp_path: Path) -> None:
    with serving(PasswordServer(SECRET)) as server:
        config = config_for(server, tmp_path, "StrictHostKeyChecking no")
        other = public_key(keygen(tmp_path / "other", "ecdsa"))
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}\n")
        assert client.fails(config, NODE, password=SECRET).kind in ("auth", "host_key_changed")
        assert server.tried == []


def test_the_password_is_in_no_command_line(client: Client, own_pool: Pool) -> None:
    own_pool.add("node1")
    channel = client.open(own_pool.ssh_config, NODE, "echo up; exec cat", password=SECRET)
    assert channel.read() == b"up\n"
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in entry.read_bytes(), entry
        except OSError:
            continue  # the process has ended


CODE = ("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
"""A server with these options asks for a code after it has accepted the key."""


def test_a_server_that_asks_for_a_code_after_the_key(client: Client, own_pool: Pool) -> None:
    own_pool.add("node1", options=CODE)
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "auth" and error.hint is not None
    if client.kind == "paramiko":
        assert f"it accepted {own_pool.key} and asks for more" in error.message
        assert "harbor-transport: openssh" in error.hint
    else:
        assert error.hint.startswith(f"ssh -F {own_pool.ssh_config} node1 true ")
        assert "ControlMaster auto" in error.hint


def test_one_master_connection_is_enough_for_a_server_that_asks_for_a_code(own_pool: Pool) -> None:
    """The user has answered the server once. After that, the server would ask again for every login."""
    client, directory = Client("openssh"), tempfile.mkdtemp(prefix="harbor-test-")
    lines = ["ControlMaster auto", f"ControlPath {directory}/%C", "ControlPersist 30"]
    server = own_pool.add("node1", client=lines)
    ssh = ["ssh", "-F", str(own_pool.ssh_config)]
    try:
        subprocess.run([*ssh, "node1", "true"], check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server.options += CODE
        server.restart()
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
        subprocess.run([*ssh, "-O", "exit", "node1"], check=True, capture_output=True)
        assert client.fails(own_pool.ssh_config, NODE).kind == "auth"
    finally:
        client.close()
        subprocess.run([*ssh, "-O", "exit", "node1"], check=False, capture_output=True)
        shutil.rmtree(directory)


@pytest.mark.parametrize("methods", [["gssapi-with-mic"], ["publickey", "gssapi-with-mic"]])
def test_a_server_that_offers_gssapi(tmp_path: Path, methods: list[str]) -> None:
    with serving(PasswordServer(SECRET, methods)) as server:
        error = Client("paramiko").fails(config_for(server, tmp_path), NODE)
    assert error.kind == "auth" and "harbor-transport: openssh" in (error.hint or "")
