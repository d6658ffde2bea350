"""The user's ssh configuration decides how a node is reached: Include, users, ports, jump hosts, proxy commands."""

import getpass
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.ssh.config import read_host_options
from snakemake_executor_plugin_harbor.remote.transport import SshSettings
from tests.remote.conftest import Client, target
from tests.sshd import Pool, free_port, keygen


def accepted(pool: Pool, name: str) -> int:
    return pool[name].log().count("Accepted publickey")


def test_include_is_followed(client: Client, pool: Pool, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"Include {pool.ssh_config}\n")
    assert client.says(config, target("node1"), "echo in") == "in\n"


def test_user_and_port_of_the_host_list_win(client: Client, own_pool: Pool) -> None:
    server = own_pool.add("node1")
    real, server.port = server.port, free_port()
    server.user = "nobody-of-that-name"
    own_pool.write_config()
    to = target("node1", user=getpass.getuser(), port=real)
    assert client.says(own_pool.ssh_config, to, "echo in") == "in\n"


def test_address_and_port_without_a_host_block(client: Client, pool: Pool, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(f"UserKnownHostsFile {pool.known_hosts}\nIdentityFile {pool.key}\n")
    server = pool["node1"]
    to = target("first", host=server.address, port=server.port)
    assert client.says(config, to, "echo in") == "in\n"


def test_one_jump_host(client: Client, own_pool: Pool) -> None:
    own_pool.add("gate")
    own_pool.add("node1", client=["ProxyJump gate"])
    assert client.says(own_pool.ssh_config, target("node1"), "echo in") == "in\n"
    assert (accepted(own_pool, "gate"), accepted(own_pool, "node1")) == (1, 1)


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "listed"])
def test_two_jump_hosts(client: Client, own_pool: Pool, nested: bool) -> None:
    own_pool.add("outer")
    own_pool.add("inner", client=["ProxyJump outer"] if nested else [])
    own_pool.add("node1", client=["ProxyJump inner" if nested else "ProxyJump outer,inner"])
    channel = client.open(own_pool.ssh_config, target("node1"), "echo up; exec cat")
    assert channel.read() == b"up\n"
    channel.write(bytes(100_000))
    received = 0
    while received < 100_000:
        received += len(channel.read())
    assert [accepted(own_pool, name) for name in own_pool.names] == [1, 1, 1]
    begun = time.monotonic()
    channel.close()
    assert channel.read() == b""
    assert time.monotonic() - begun < 1


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_jump_host_that_dies(client: Client, own_pool: Pool) -> None:
    """The channel ends, and no thread ends with a traceback on the user's screen."""
    gate = own_pool.add("gate")
    own_pool.add("node1", client=["ProxyJump gate"])
    channel = client.open(own_pool.ssh_config, target("node1"), "echo up; exec sleep 60")
    assert channel.read() == b"up\n"
    gate.drop()
    assert channel.read() == b""
    client.close()


def test_servers_without_a_common_algorithm(client: Client, own_pool: Pool) -> None:
    own_pool.add("node1", options=["Ciphers chacha20-poly1305@openssh.com"], client=["Ciphers aes256-ctr"])
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert (error.kind, error.permanent) == ("config", True)
    assert "cipher" in error.message


def test_jump_host_that_refuses(client: Client, own_pool: Pool) -> None:
    gate = own_pool.add("gate")
    own_pool.add("node1", client=["ProxyJump gate"])
    gate.stop()
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "refused"
    assert "jump host gate" in error.message
    assert str(gate.port) in error.message


def test_node_that_refuses_behind_a_jump_host(client: Client, own_pool: Pool) -> None:
    own_pool.add("gate")
    own_pool.add("node1", client=["ProxyJump gate"]).stop()
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "refused"
    assert "jump host" in error.message


def test_jump_host_that_forwards_nothing(client: Client, own_pool: Pool) -> None:
    own_pool.add("gate", options=["AllowTcpForwarding no"])
    own_pool.add("node1", client=["ProxyJump gate"])
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "proxy"
    assert "prohibited" in error.message.lower()


def test_unknown_key_of_a_jump_host(client: Client, own_pool: Pool) -> None:
    own_pool.add("gate", known=False)
    own_pool.add("node1", client=["ProxyJump gate"])
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "host_key_unknown"
    assert "jump host gate" in error.message


def test_jump_host_that_refuses_the_login(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    own_pool.add("gate", client=[f"IdentityFile {keygen(tmp_path / 'wrong')}"], options=["AuthorizedKeysFile none"])
    own_pool.add("node1", client=["ProxyJump gate"])
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "auth"
    assert "jump host gate" in error.message


def test_jump_hosts_in_a_circle(own_pool: Pool) -> None:
    client = Client("paramiko")  # ssh itself would follow the circle without end
    own_pool.add("node1", client=["ProxyJump node1"])
    try:
        error = client.fails(own_pool.ssh_config, target("node1"))
    finally:
        client.close()
    assert error.kind == "config"
    assert "circle" in error.message


def test_proxy_command(client: Client, own_pool: Pool) -> None:
    own_pool.add("gate")
    own_pool.add("node1", client=[f"ProxyCommand ssh -F {own_pool.ssh_config} -W %h:%p gate"])
    assert client.says(own_pool.ssh_config, target("node1"), "echo in") == "in\n"
    assert accepted(own_pool, "gate") == 1


@pytest.mark.parametrize("command", ["false", "sh -c 'echo no such gate >&2; exit 3'"])
def test_proxy_command_that_fails(client: Client, own_pool: Pool, command: str) -> None:
    own_pool.add("node1", client=[f"ProxyCommand {command}"])
    cpu = time.process_time()
    error = client.fails(own_pool.ssh_config, target("node1"))
    assert error.kind == "proxy"
    assert "no such gate" in error.message or command == "false"
    assert time.process_time() - cpu < 1


def test_compression_and_a_cipher_of_the_server(client: Client, own_pool: Pool) -> None:
    own_pool.add("node1", options=["Ciphers aes256-ctr", "Compression yes"], client=["Compression yes"])
    assert client.says(own_pool.ssh_config, target("node1"), "head -c 300000 /dev/zero | wc -c").strip() == "300000"


@pytest.mark.parametrize("ciphers", ["aes128-ctr,aes256-ctr", "aes256-ctr,aes256-gcm@openssh.com", ""])
def test_paramiko_takes_a_fast_cipher_if_the_server_has_one(own_pool: Pool, ciphers: str) -> None:
    """The keys of the connection change on the way, because the server wants new ones after each megabyte."""
    client, options = Client("paramiko"), ["LogLevel DEBUG", "RekeyLimit 1M", "Compression yes"]
    own_pool.add("node1", options=[*options, *([f"Ciphers {ciphers}"] if ciphers else [])], client=["Compression yes"])
    data = os.urandom(5 << 20)
    try:
        channel = client.open(own_pool.ssh_config, target("node1"), "exec cat")
        writer = threading.Thread(target=channel.write, args=(data,))
        writer.start()
        received = bytearray()
        while len(received) < len(data):
            more = channel.read()
            assert more, channel.stderr()
            received += more
        writer.join()
        assert received == data
    finally:
        client.close()
    best = "aes256-gcm@openssh.com" if "gcm" in ciphers else "aes128-ctr" if ciphers else "aes128-gcm@openssh.com"
    log = own_pool["node1"].log()
    assert set(re.findall(r"kex: \S+ cipher: (\S+)", log)) == {best}
    assert log.count("kex: client->server cipher") > 4


def test_a_remote_command_of_the_configuration_is_ignored(client: Client, own_pool: Pool) -> None:
    lines = ["RemoteCommand tmux", "RequestTTY yes", "LocalForward 127.0.0.1:1 127.0.0.1:1", "ForwardAgent yes"]
    own_pool.add("node1", client=lines)
    assert client.says(own_pool.ssh_config, target("node1"), "echo in") == "in\n"


def test_the_user_s_master_connection_is_used(own_pool: Pool) -> None:
    client = Client("openssh")
    directory = tempfile.mkdtemp(prefix="harbor-test-")  # pytest's paths are too long for a Unix socket
    own_pool.add("node1", client=["ControlMaster auto", f"ControlPath {directory}/%C", "ControlPersist 30"])
    to = target("node1")
    try:
        assert client.says(own_pool.ssh_config, to, "echo one") == "one\n"
        assert client.says(own_pool.ssh_config, to, "echo two; echo err >&2") == "two\n"
        assert accepted(own_pool, "node1") == 1
    finally:
        client.close()
        leave = ["ssh", "-F", str(own_pool.ssh_config), "-O", "exit", "node1"]
        subprocess.run(leave, check=False, capture_output=True)
        shutil.rmtree(directory)


def test_without_the_ssh_program_paramiko_reads_the_files(
    own_pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own_pool.add("gate")
    own_pool.add("node1", client=["ProxyJump gate"])
    for program in ("sh", "cat"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(tmp_path))
    client = Client("paramiko")
    try:
        assert client.says(own_pool.ssh_config, target("node1"), "echo in") == "in\n"
        error = Client("openssh").fails(own_pool.ssh_config, target("node1"))
    finally:
        client.close()
    assert error.kind == "config"
    assert error.hint == "snakemake --harbor-transport paramiko"


def test_tokens_and_defaults(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host ada\n  HostName Ada.Lab\n  User carol\n  IdentityFile ~/keys/%r@%h-%p\n  IdentityFile %d/second\n"
        '  UserKnownHostsFile "/tmp/with blank" /tmp/other\n  ProxyCommand nc %h %p %n %%\n  ConnectTimeout 7\n'
    )
    options = read_host_options(target("ada", port=2222), SshSettings(config, None))
    home = Path(os.path.expanduser("~" + getpass.getuser()))
    assert (options.hostname, options.port, options.user) == ("ada.lab", 2222, "carol")
    assert options.known_name == "[ada.lab]:2222"
    assert options.identity_files == (home / "keys/carol@ada.lab-2222", home / "second")
    assert options.proxy_command == "nc ada.lab 2222 ada %"
    assert options.connect_timeout == 7
    assert options.strict == "yes"
    assert options.alive_interval == 15
    assert Path("/tmp/other") in options.user_known_hosts


def test_hints_quote_what_needs_it(tmp_path: Path) -> None:
    directory = tmp_path / "my lab"
    directory.mkdir()
    config = directory / "config"
    config.write_text(f"Host ada\n  HostName 127.0.0.1\n  Port {free_port()}\n")
    client = Client("paramiko")
    error = client.fails(config, target("ada", user="carol"))
    assert shlex.split(error.hint or "") == ["ssh", "-v", "-F", str(config), "carol@ada"]


def test_what_paramiko_cannot_do_names_the_other_transport(own_pool: Pool, tmp_path: Path) -> None:
    own_pool.add("node1", options=["AuthorizedKeysFile none"], client=[f"PKCS11Provider {tmp_path}/none.so"])
    own_pool.add("node2", client=["ProxyCommand nc %h %p", "ProxyUseFdpass yes"])
    paramiko = Client("paramiko")
    for name, option in (("node1", "PKCS11Provider"), ("node2", "ProxyUseFdpass")):
        error = paramiko.fails(own_pool.ssh_config, target(name))
        assert f"The ssh configuration has {option}, which only the ssh program" in error.message
        assert "--harbor-transport openssh" in str(error.hint) and error.permanent
