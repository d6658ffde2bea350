"""Both SSH transports check host keys as the ssh program does."""

import subprocess
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.ssh import known_hosts as hostkeys
from snakemake_executor_plugin_harbor.remote.ssh.config import read_host_options
from snakemake_executor_plugin_harbor.remote.ssh.errors import USE_OPENSSH
from snakemake_executor_plugin_harbor.remote.transport import SshSettings
from tests.remote.conftest import Client, target
from tests.sshd import Pool, Sshd, keygen, public_key

NODE = target("node1")


def fingerprint(server: Sshd) -> str:
    listing = subprocess.run(["ssh-keygen", "-lf", server.host_keys[0]], capture_output=True, text=True, check=True)
    return listing.stdout.split()[1]


def listed(file: Path, name: str) -> list[str]:
    """Return the lines of `file` about `name`, as ssh-keygen finds them."""
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if not line.startswith("#")]


def test_unknown_key_is_refused_with_the_command_that_adds_it(client: Client, own_pool: Pool) -> None:
    server = own_pool.add("node1", known=False)
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "host_key_unknown"
    assert error.permanent
    assert fingerprint(server) in error.message
    assert error.hint == f"ssh-keyscan -t ed25519 -p {server.port} {server.address} >> {own_pool.known_hosts}"
    assert own_pool.known_hosts.read_text() == ""
    subprocess.run(error.hint, shell=True, check=True, capture_output=True)
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_changed_key_is_refused(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    server = own_pool.add("node1", known=False)
    other = keygen(tmp_path / "other")
    own_pool.known_hosts.write_text(f"# the lab\n{server.known_name} {public_key(other)}\n")
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "host_key_changed"
    assert error.permanent
    assert f"{own_pool.known_hosts}:2" in error.message
    assert fingerprint(server) in error.message
    assert error.hint == f"ssh-keygen -R '{server.known_name}' -f {own_pool.known_hosts}"


def test_changed_key_is_refused_with_accept_new(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    server = own_pool.add("node1", known=False, client=["StrictHostKeyChecking accept-new"])
    own_pool.known_hosts.write_text(f"{server.known_name} {public_key(keygen(tmp_path / 'other'))}\n")
    assert client.fails(own_pool.ssh_config, NODE).kind == "host_key_changed"


def test_revoked_key_is_refused(client: Client, own_pool: Pool) -> None:
    server = own_pool.add("node1", client=["StrictHostKeyChecking accept-new"])
    with own_pool.known_hosts.open("a") as file:
        file.write(f"@revoked * {public_key(server.host_keys[0])}\n")
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "host_key_changed"
    assert "revoked" in error.message


def test_hashed_names_are_found(client: Client, own_pool: Pool) -> None:
    own_pool.add("node1")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", own_pool.known_hosts], check=True, capture_output=True)
    assert own_pool.known_hosts.read_text().startswith("|1|")
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ("[10.0.0.7]:2222", True),
        ("10.0.0.7", True),  # like ssh, a key that is listed under the name without the port is right
        ("[10.0.*]:222?", True),
        ("ada,[10.0.0.7]:2222,10.0.0.8", True),
        ("*,!ada", True),
        ("*,!10.0.0.7,![10.0.0.7]:2222", False),
        ("[10.0.0.7]:2223", False),
        ("|1|broken", False),
        pytest.param(hostkeys.hash_name("[10.0.0.7]:2222"), True, id="hashed"),
        pytest.param(hostkeys.hash_name("[10.0.0.7]:2223"), False, id="hashed, another port"),
    ],
)
def test_forms_of_names(tmp_path: Path, names: str, known: bool) -> None:
    config, file = tmp_path / "config", tmp_path / "known_hosts"
    config.write_text(f"UserKnownHostsFile {file}\nGlobalKnownHostsFile none\n")
    kind, text = public_key(keygen(tmp_path / "key")).split()
    file.write_text(f"\n# {names} {kind} {text}\n{names} {kind} {text} a comment\nhalf a line\n")
    options = read_host_options(target("ada", host="10.0.0.7", port=2222), SshSettings(config, None))
    verdict, found = hostkeys.check_key(options, hostkeys.HostKey(kind, text))
    assert (verdict is hostkeys.Verdict.KNOWN) == known
    assert [entry.where for entry in found] == ([f"{file}:3"] if known else [])


def test_the_alias_is_the_name(client: Client, own_pool: Pool) -> None:
    server = own_pool.add("node1", known=False, client=["HostKeyAlias lab-gpu"])
    error = client.fails(own_pool.ssh_config, NODE)
    assert error.kind == "host_key_unknown"
    assert "lab-gpu" in error.message
    assert error.hint == f"ssh -o StrictHostKeyChecking=ask -F {own_pool.ssh_config} node1"
    own_pool.known_hosts.write_text(f"lab-gpu {public_key(server.host_keys[0])}\n")
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_several_files(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    first, second = tmp_path / "missing", tmp_path / "second"
    server = own_pool.add("node1", known=False, client=[f"UserKnownHostsFile {first} {second}"])
    second.write_text(server.known_hosts_lines()[0])
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_the_known_type_of_key_is_asked_for(client: Client, own_pool: Pool, kind: str) -> None:
    server = own_pool.add("node1", kinds=["ed25519", "ecdsa", "rsa"], known=False)
    line = next(line for line in server.known_hosts_lines() if kind in line)
    own_pool.known_hosts.write_text(line)
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


ODD_FILE = (
    "# my own comment\n"
    "\n"
    "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-rsa AAAA1234=\n"
    "@cert-authority *.lab ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl6V7a2cbAKZQT2IJTvWZFvmhsqjgrY8bkBXZ5Q0Qyt\n"
    "two,names,here   ssh-ed25519   AAAAC3NzaC1lZDI1NTE5AAAAIJl6V7a2cbAKZQT2IJTvWZFvmhsqjgrY8bkBXZ5Q0Qyt trailing  "
)


@pytest.mark.parametrize("before", [ODD_FILE, ODD_FILE + "\n", None], ids=["no newline", "newline", "no file"])
def test_accept_new_appends_one_line_and_touches_nothing_else(
    client: Client, own_pool: Pool, before: str | None
) -> None:
    server = own_pool.add("node1", known=False, client=["StrictHostKeyChecking accept-new"])
    if client.kind == "openssh" and before != ODD_FILE + "\n":
        pytest.skip("ssh writes the file itself, and 9.2 does not end a last line that is not ended")
    own_pool.known_hosts.unlink()
    if before is not None:
        own_pool.known_hosts.write_text(before)
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
    after = own_pool.known_hosts.read_text()
    assert after.startswith(before or "")
    assert after.removeprefix(before or "").strip() == server.known_hosts_lines()[0].strip()
    assert after.endswith("\n")
    assert client.says(own_pool.ssh_config, NODE, "echo again") == "again\n"
    assert own_pool.known_hosts.read_text() == after


def test_accept_new_writes_hashed_names_where_the_user_wants_them(client: Client, own_pool: Pool) -> None:
    options = ["StrictHostKeyChecking accept-new", "HashKnownHosts yes"]
    server = own_pool.add("node1", known=False, client=options)
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
    assert server.address not in own_pool.known_hosts.read_text()
    assert len(listed(own_pool.known_hosts, server.known_name)) == 1


def test_accept_new_remembers_where_it_cannot_write(own_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostkeys, "_accepted", {})
    options = ["StrictHostKeyChecking accept-new", "UserKnownHostsFile /dev/null"]
    server = own_pool.add("node1", known=False, client=options)
    client = Client("paramiko")
    try:
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
        server.stop()
        server.host_keys = [keygen(server.directory / "new_key")]
        server.start()
        assert client.fails(own_pool.ssh_config, NODE).kind == "host_key_changed"
    finally:
        client.close()


def test_accept_new_does_not_take_another_type_for_a_new_host(own_pool: Pool, tmp_path: Path) -> None:
    """We are stricter than ssh, because a server that does not show the known keys may be another machine."""
    server = own_pool.add("node1", known=False, client=["StrictHostKeyChecking accept-new"])
    own_pool.known_hosts.write_text(f"{server.known_name} {public_key(keygen(tmp_path / 'rsa', 'rsa'))}\n")
    client = Client("paramiko")
    try:
        assert client.fails(own_pool.ssh_config, NODE).kind == "host_key_unknown"
    finally:
        client.close()


def test_no_checking_takes_any_key(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    server = own_pool.add("node1", known=False, client=["StrictHostKeyChecking no"])
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
    own_pool.known_hosts.write_text(f"{server.known_name} {public_key(keygen(tmp_path / 'other'))}\n")
    assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"


def test_a_host_certificate_takes_the_ssh_program(client: Client, own_pool: Pool, tmp_path: Path) -> None:
    server = own_pool.add("node1", known=False)
    authority = keygen(tmp_path / "authority")
    host_key = server.host_keys[0]
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "node1", "-h", "-n", server.address, f"{host_key}.pub"]
    subprocess.run(sign, check=True)
    server.options.append(f"HostCertificate {host_key}-cert.pub")
    server.restart()
    own_pool.known_hosts.write_text(f"@cert-authority * {public_key(authority)}\n")
    if client.kind == "openssh":
        assert client.says(own_pool.ssh_config, NODE, "echo in") == "in\n"
    else:
        error = client.fails(own_pool.ssh_config, NODE)
        assert (error.kind, error.hint) == ("host_key_unknown", USE_OPENSSH)
