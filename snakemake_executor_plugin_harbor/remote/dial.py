"""The stream of bytes that an SSH session by paramiko begins on: a TCP connection, or a proxy command's ends."""

import socket
import subprocess
import time

from .faults import Faults, kind_of_error
from .process import clean_environment
from .sshconfig import HostOptions

DEAD_AFTER_INTERVALS = 4
"""A peer that has not acknowledged anything for so many keepalive intervals is gone."""


def dial_tcp(options: HostOptions, faults: Faults) -> socket.socket:
    """A TCP connection to the first address that answers. Raises ConnectError."""
    try:
        found = socket.getaddrinfo(options.hostname, options.port, options.family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise faults.unreached("name", detail or str(error)) from error
    deadline = time.monotonic() + options.connect_timeout
    errors: list[OSError] = []
    for index, (family, kind, protocol, _, address) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
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


def _tune(sock: socket.socket, options: HostOptions) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # paramiko's keepalive asks for no answer: the kernel has to notice that nothing is acknowledged.
        limit = options.alive_interval * DEAD_AFTER_INTERVALS * 1000
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)


def spawn_proxy(command: str) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """Start a proxy command with a socket as its stdin and stdout.

    paramiko's own ProxyCommand spins at full speed, for ever, once its command has ended.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        end = theirs.fileno()
        argv = ["/bin/sh", "-c", f"exec {command}"]
        process = subprocess.Popen(
            argv, stdin=end, stdout=end, stderr=subprocess.DEVNULL, env=clean_environment(), start_new_session=True
        )
    return process, ours


def end_proxy(process: "subprocess.Popen[bytes]") -> None:
    """End a proxy command, by force if it does not take the hint."""
    process.terminate()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
