"""Options of ssh_config(5) become the values that the transports use."""

import os
import socket
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.ssh.host_options import ALIVE_INTERVAL_S, HOME, HostOptions, host_options
from snakemake_executor_plugin_harbor.remote.transport import ConnectError, SshSettings
from tests.remote.conftest import target

ADA = target("ada", user="carol")


def options(timeout: float = 15, **values: str | list[str]) -> HostOptions:
    lines = {key: [value] if isinstance(value, str) else value for key, value in values.items()}
    return host_options(ADA, SshSettings(None, None, timeout), lines)


def test_without_a_configuration(monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    got = options(timeout=7)
    assert (got.hostname, got.port, got.user, got.known_name) == ("ada", 22, "carol", "ada")
    assert (got.connect_timeout, got.alive_interval, got.strict) == (7, ALIVE_INTERVAL_S, "yes")
    assert got.identity_files[0] == HOME / ".ssh/id_ed25519"
    assert got.user_known_hosts == (HOME / ".ssh/known_hosts", HOME / ".ssh/known_hosts2")
    assert (got.proxy_jump, got.proxy_command, got.agent_socket) == ((), None, None)
    assert (got.public_key_login, got.identities_only, got.compression) == (True, False, False)
    assert got.family == socket.AF_UNSPEC
    assert options(proxyusefdpass="no", pkcs11provider="none").only_openssh == ()
    assert options(proxyusefdpass="yes", bindaddress="10.0.0.1").only_openssh == ("ProxyUseFdpass", "BindAddress")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("ask", "yes"), ("true", "yes"), ("accept-new", "accept-new"), ("off", "no"), ("false", "no"), ("no", "no")],
)
def test_strictness(value, wanted):
    assert options(stricthostkeychecking=value).strict == wanted


def test_names_in_known_hosts():
    assert options(port="2222").known_name == "[ada]:2222"
    assert options(port="2222", hostkeyalias="lab").known_name == "lab"
    assert options(hostkeyalias="none").has_alias is False


def test_none_is_no_value():
    got = options(proxyjump="none", proxycommand="none", connecttimeout="none", userknownhostsfile="none")
    assert (got.proxy_jump, got.proxy_command, got.connect_timeout, got.user_known_hosts) == ((), None, 15, ())


def test_lists(tmp_path):
    assert options(proxyjump="a, b:2").proxy_jump == ("a", "b:2")
    assert options(identityfile=["~/one", "none", '"/two three"']).identity_files == (HOME / "one", Path("/two three"))
    blank = tmp_path / "known hosts"
    assert len(options(userknownhostsfile=str(blank)).user_known_hosts) == 2
    blank.touch()
    assert options(userknownhostsfile=str(blank)).user_known_hosts == (blank,)


def test_tokens_and_variables(monkeypatch):
    monkeypatch.setenv("RELAY", "relay")
    got = options(hostname="ADA.lab", port="2222", proxycommand="${RELAY} %h %p %r %n %% %z ${UNSET_HERE}")
    assert got.proxy_command == "relay ada.lab 2222 carol ada % %z ${UNSET_HERE}"
    assert options(identityfile="/keys/%u-%i").identity_files == (Path(f"/keys/{HOME.owner()}-{os.getuid()}"),)


def test_the_agent(monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("OTHER_SOCK", "/run/other")
    assert options().agent_socket == "/run/agent"
    assert options(identityagent="none").agent_socket is None
    assert options(identityagent="$OTHER_SOCK").agent_socket == "/run/other"
    assert options(identityagent="~/agent").agent_socket == str(HOME / "agent")


@pytest.mark.parametrize("key", ["port", "connecttimeout", "serveraliveinterval"])
def test_a_number_that_is_none_is_an_error(key):
    with pytest.raises(ConnectError, match=f"{key} soon is not a number") as caught:
        options(**{key: "soon"})
    assert caught.value.kind == "config" and caught.value.message.startswith("node ada: ")
