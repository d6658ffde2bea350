"""The openssh transport gives the password to the askpass program only, and to no other program that ssh starts."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import SshSettings
from tests.remote.conftest import everything, target
from tests.remote.password_server import PasswordServer, serving
from tests.sshd import wait_until

SECRET = 'p4ss it\'s "$HOME" \\n grün %s'
RELAY = """\
import os, socket, sys, threading
open(sys.argv[1], "ab").write(b"\\0".join(k + b"=" + v for k, v in os.environb.items()))
sock = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
def back():
    while data := sock.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    sock.sendall(data)
"""


@pytest.fixture
def server():
    with serving(PasswordServer(SECRET)) as made:
        yield made


def config(server: PasswordServer, directory: Path, *lines: str) -> Path:
    known = directory / "known_hosts"
    known.write_text(server.known_hosts_line)
    block = ["Host node1", "HostName 127.0.0.1", f"Port {server.port}", f"UserKnownHostsFile {known}", *lines]
    path = directory / "ssh_config"
    path.write_text("\n  ".join(block) + "\n")
    return path


def test_only_askpass_gets_it(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = tmp_path / "seen"
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    lines = [f"ProxyCommand {sys.executable} {relay} {seen} %p", "SendEnv *", f'Match exec "env -0 >>{seen}"']
    transport = make_transport(target("node1"), "openssh", SshSettings(config(server, tmp_path, *lines), SECRET))
    try:
        channel = transport.open("x")
        assert everything(channel) == b"in\n"
        assert server.tried == ["password"]
        assert b"SSH_ASKPASS=" in seen.read_bytes(), "it has seen the environment of ssh"
        assert SECRET.encode() not in seen.read_bytes()
        assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert not list(tmp_path.glob("harbor-ssh-*")), "the private directory is gone once we are in"
        for process in psutil.process_iter():
            if process.pid != os.getpid():
                assert SECRET not in " ".join(_quietly(process.cmdline) or [])
                assert SECRET not in (_quietly(process.environ) or {}).values()
    finally:
        transport.close()


def test_a_refused_login_leaves_nothing_behind(server, tmp_path, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    transport = make_transport(target("node1"), "openssh", SshSettings(config(server, tmp_path), "wrong"))
    with pytest.raises(Exception, match="was refused"):
        transport.open("x")
    wait_until(lambda: not list(tmp_path.glob("harbor-ssh-*")), 5)


def _quietly(ask):
    try:
        return ask()
    except psutil.Error:
        return None
