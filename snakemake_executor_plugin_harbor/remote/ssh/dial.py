"""Opens the stream of bytes that paramiko's SSH session runs over.

The stream is a TCP connection, a proxy command's stdin and stdout, or a channel through a jump host.
"""

import os
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..process_channel import END_GRACE_S, STDERR_KEPT, clean_environment
from .errors import ConnectErrors, kind_of_error
from .host_options import HostOptions

if TYPE_CHECKING:
    import paramiko

DEAD_AFTER_INTERVALS = 4
"""A peer is dead if it has acknowledged nothing for this many keepalive intervals."""


def dial_tcp(options: HostOptions, errors: ConnectErrors, register: Callable[[socket.socket], None]) -> socket.socket:
    """Return a TCP connection to the first address that answers. Raises ConnectError.

    `register` gets each socket before it is connected, so that another thread can shut it down to end the attempt.
    """
    try:
        found = socket.getaddrinfo(options.hostname, options.port, options.family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise errors.not_connected("name", detail or str(error)) from error
    deadline = time.monotonic() + options.connect_timeout
    failures: list[OSError] = []
    for index, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        register(sock)
        sock.settimeout(max(0.1, (deadline - time.monotonic()) / (len(found) - index)))
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            failures.append(error)
            continue
        _set_options(sock, options)
        return sock
    order = ("refused", "timeout", "unreachable")
    failures.sort(key=lambda error: order.index(kind) if (kind := kind_of_error(error)) in order else len(order))
    kind_word = kind_of_error(failures[0])
    detail = failures[0].strerror or "" if kind_word == "other" else ""
    raise errors.not_connected(kind_word, detail) from failures[0]


def _set_options(sock: socket.socket, options: HostOptions) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # paramiko's keepalive does not wait for an answer. So the kernel has to notice that nothing is acknowledged.
        limit = options.alive_interval * DEAD_AFTER_INTERVALS * 1000
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


def wait_for_greeting(sock: socket.socket, timeout: float) -> bool:
    """Return True if the server sends something or hangs up within `timeout` seconds. The bytes stay unread."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(timeout))


class Tunnel:
    """Lets the next session use a channel through a jump host as its socket.

    paramiko's channel sends a message when it is closed. If the connection is gone, that raises an error in paramiko's
    own thread, and users would see the traceback.
    """

    def __init__(self, channel: "paramiko.Channel") -> None:
        self._channel = channel
        self.send = channel.send
        self.recv = channel.recv
        self.settimeout = channel.settimeout

    @property
    def _closed(self) -> bool:
        """paramiko reads this attribute of sockets."""
        return self._channel.closed

    def close(self) -> None:
        from paramiko import SSHException

        try:
            self._channel.close()
        except (SSHException, EOFError, OSError):
            pass  # the connection to the jump host is gone, and the channel with it


class ProxyProcess:
    """Runs a ProxyCommand. `sock` is connected to its stdin and stdout.

    paramiko's own ProxyCommand uses a whole CPU without end after its command has ended.
    """

    def __init__(self, command: str) -> None:
        self.sock, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - end() closes it
        with theirs:
            fd = theirs.fileno()
            argv = ["/bin/sh", "-c", f"exec {command}"]
            env = clean_environment()
            self._process = subprocess.Popen(
                argv, stdin=fd, stdout=fd, stderr=self._stderr.fileno(), env=env, start_new_session=True
            )

    def stderr(self) -> str:
        """Return the last part of what the command wrote to stderr. May be called until end()."""
        size = self._stderr.seek(0, os.SEEK_END)
        return os.pread(self._stderr.fileno(), STDERR_KEPT, max(0, size - STDERR_KEPT)).decode(errors="replace")

    def end(self) -> None:
        """Terminate the command. Kill it if it does not end in time."""
        self._process.terminate()
        try:
            self._process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
