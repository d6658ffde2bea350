"""This file lists the names of paramiko that we use without a promise of its documentation. A release may change them.

If a row fails with a new paramiko, mend the file that the row names before the upper bound in pyproject.toml moves.
"""

import inspect
import re
import socket
import threading

import paramiko
import paramiko.agent
import paramiko.auth_handler
import paramiko.buffered_pipe
import paramiko.packet
import paramiko.transport
import pytest

from snakemake_executor_plugin_harbor.remote.ssh.ciphers import FAST

METHODS = [
    (paramiko.agent.AgentSSH, "_connect", ["conn"], "ssh/keys.py: IdentityAgent names another socket"),
    (paramiko.packet.Packetizer, "complete_handshake", [], "ssh/paramiko_transport.py: ends the timer's thread"),
    (paramiko.buffered_pipe.BufferedPipe, "set_event", ["event"], "ssh/paramiko_channel.py: one event for both pipes"),
    (paramiko.PKey, "load_certificate", ["value"], "ssh/keys.py: certificates"),
    (paramiko.Transport, "start_client", ["event", "timeout"], "ssh/paramiko_transport.py: handshake with a timeout"),
    (paramiko.Transport, "auth_password", ["username", "password", "event", "fallback"], "ssh/login.py: no fallback"),
]


@pytest.mark.parametrize(("owner", "name", "parameters", "use"), METHODS, ids=[row[1] for row in METHODS])
def test_a_method_has_its_parameters(owner, name, parameters, use):
    method = getattr(owner, name, None)
    assert method is not None, use
    assert list(inspect.signature(method).parameters)[1:] == parameters, use


def test_a_channel_has_its_buffers_and_its_status():
    """ssh/paramiko_channel.py waits for both buffers with one event, and for the exit status with a timeout."""
    channel = paramiko.Channel(0)
    assert isinstance(channel.in_buffer, paramiko.buffered_pipe.BufferedPipe)
    assert isinstance(channel.in_stderr_buffer, paramiko.buffered_pipe.BufferedPipe)
    assert isinstance(channel.status_event, threading.Event)
    assert (channel.exit_status, bool(channel.eof_received), channel.closed) == (-1, False, False)


def test_a_buffer_only_sets_and_clears_its_event():
    """ssh/paramiko_channel.py gives it an event whose clear() does nothing."""
    source = inspect.getsource(paramiko.buffered_pipe.BufferedPipe)
    assert set(re.findall(r"self\._event\.(\w+)", source)) == {"set", "clear"}


def test_a_channel_asks_no_more_of_its_buffer():
    """ssh/paramiko_channel.py replaces the buffer of stdout."""
    source = inspect.getsource(paramiko.Channel)
    used = set(re.findall(r"self\.in_buffer\.(\w+)", source))
    assert used == {"feed", "read", "read_ready", "close", "set_event"}
    assert set(re.findall(r"(\w+)\(self[^)]*\):(?:(?!def ).)*?in_buffer\.set_event", source, re.DOTALL)) == {"fileno"}


def test_a_channel_sends_no_more_than_the_packet_of_the_server():
    """ssh/paramiko_channel.py makes its writes as large as one packet."""
    assert "self.out_max_packet_size - 64" in inspect.getsource(paramiko.Channel)


def test_the_fast_ciphers_are_known():
    """ssh/ciphers.py puts them first."""
    assert set(FAST) <= set(paramiko.Transport._preferred_ciphers)


def test_a_session_has_its_timeouts_and_its_packetizer():
    """ssh/paramiko_transport.py sets the four timeouts and ends the packetizer's timer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = paramiko.Transport(ours)
        for name in ("banner_timeout", "handshake_timeout", "auth_timeout", "channel_timeout"):
            assert isinstance(getattr(session, name), int), name
        assert isinstance(session.packetizer, paramiko.packet.Packetizer)


def test_a_session_uses_only_what_a_tunnel_has():
    """ssh/dial.py: a Tunnel takes the place of a socket."""
    used = set(re.findall(r"self\.__socket\.(\w+)", inspect.getsource(paramiko.packet.Packetizer)))
    used |= set(re.findall(r"self\.sock\.(\w+)", inspect.getsource(paramiko.transport.Transport)))
    assert used - {"getpeername"} <= {"send", "recv", "settimeout", "close", "_closed"}


@pytest.mark.parametrize(
    ("source", "text", "use"),
    [
        (paramiko.transport, "Indecipherable protocol", "ssh/paramiko_transport.py: what answers is no SSH server"),
        (paramiko.transport, "Error reading SSH protocol banner", "ssh/paramiko_transport.py: it hung up at once"),
        (paramiko.auth_handler, "Authentication timeout", "ssh/login.py: the login takes too long"),
    ],
)
def test_a_message_has_its_text(source, text, use):
    assert text in inspect.getsource(source), use


def test_a_refused_method_names_the_allowed_ones():
    """ssh/login.py learns from it which methods the server accepts."""
    assert paramiko.BadAuthenticationType("no", ["publickey"]).allowed_types == ["publickey"]
    assert issubclass(paramiko.BadAuthenticationType, paramiko.AuthenticationException)


def test_errors_of_a_handshake_and_a_channel():
    assert issubclass(paramiko.ssh_exception.IncompatiblePeer, paramiko.SSHException)
    error = paramiko.ChannelException(1, "Administratively prohibited")
    assert (error.code, error.text) == (1, "Administratively prohibited")
