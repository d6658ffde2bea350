"""The stream of bytes that an SSH session by paramiko begins on: a TCP connection, or a proxy command's ends."""

import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..process import END_GRACE_S, STDERR_KEPT, clean_environment
from .config import HostOptions
from .errors import ConnectErrors, kind_of_error

if TYPE_CHECKING:
    import paramiko

DEAD_AFTER_INTERVALS = 4
"""A peer that has not acknowledged anything for so many keepalive intervals is gone."""


def dial_tcp(options: HostOptions, faults: ConnectErrors, enlist: Callable[[socket.socket], None]) -> socket.socket:
    """A TCP connection to the first address that answers. Raises ConnectError.

    `enlist` gets each socket before it is connected: shutting that one down ends the attempt.
    """
    try:
        found = socket.getaddrinfo(options.hostname, options.port, options.family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise faults.unreached("name", detail or str(error)) from error
    deadline = time.monotonic() + options.connect_timeout
    errors: list[OSError] = []
    for index, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        enlist(sock)
        sock.settimeout(max(0.1, (deadline - time.monotonic()) / (len(found) - index)))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            errors.append(error)
            continue
        _tune(sock, options)
        return sock
    order = ("refused", "timeout", "unreachable")
    errors.sort(key=lambda error: order.index(kind) if (kind := kind_of_error(error)) in order else len(order))
    kind_word = kind_of_error(errors[0])
    raise faults.unreached(kind_word, errors[0].strerror or "" if kind_word == "other" else "") from errors[0]


def await_greeting(sock: socket.socket, timeout: float) -> bool:
    """Whether the server begins to speak, or hangs up, within `timeout` seconds. What it says stays unread."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _tune(sock: socket.socket, options: HostOptions) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # paramiko's keepalive asks for no answer: the kernel has to notice that nothing is acknowledged.
        limit = options.alive_interval * DEAD_AFTER_INTERVALS * 1000
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


class Tunnel:
    """A channel through a jump host as the socket of the next session.

    A bare channel sends a message when it is closed; on a connection that is gone that raises, in paramiko's own
    thread, and users would see the traceback.
    """

    def __init__(self, channel: "paramiko.Channel") -> None:
        self._channel = channel
        self.send = channel.send
        self.recv = channel.recv
        self.settimeout = channel.settimeout

    @property
    def _closed(self) -> bool:
        """paramiko looks for it, as sockets have it."""
        return self._channel.closed

    def close(self) -> None:
        from paramiko import SSHException

        try:
            self._channel.close()
        except (SSHException, EOFError, OSError):
            pass  # the jump host's connection is gone, and the channel with it


class Proxy:
    """A ProxyCommand with a socket as its stdin and stdout.

    paramiko's own ProxyCommand spins at full speed, for ever, once its command has ended.
    """

    def __init__(self, command: str) -> None:
        self.sock, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - end() closes it
        with theirs:
            end = theirs.fileno()
            argv = ["/bin/sh", "-c", f"exec {command}"]
            env = clean_environment()
            self._process = subprocess.Popen(
                argv, stdin=end, stdout=end, stderr=self._errors.fileno(), env=env, start_new_session=True
            )

    def said(self) -> str:
        """The last of what the command wrote to stderr, before end()."""
        size = self._errors.seek(0, os.SEEK_END)
        return os.pread(self._errors.fileno(), STDERR_KEPT, max(0, size - STDERR_KEPT)).decode(errors="replace")

    def end(self) -> None:
        """End the command, by force if it does not take the hint."""
        self._process.terminate()
        try:
            self._process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
