"""Hosts that do not work, each in another way: packets are dropped, nothing is sent, or only a greeting is sent."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


def _swallowing(address: str, stack: ExitStack) -> int:
    """Make a listener with a full queue. The kernel drops further SYNs, as if the machine had no power."""
    listener = stack.enter_context(socket.create_server((address, 0), backlog=0))
    for _ in range(4):
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    return int(listener.getsockname()[1])


def _silent(address: str, stack: ExitStack) -> int:
    """Make a listener whose connections are completed by the kernel, but nothing is sent, as if sshd hung."""
    return int(stack.enter_context(socket.create_server((address, 0), backlog=4096)).getsockname()[1])


def _greeting(address: str, stack: ExitStack) -> int:
    """Make a server that sends the greeting of an SSH server and nothing else, as if its disk hung."""
    listener = stack.enter_context(socket.create_server((address, 0), backlog=4096))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = stack.enter_context(listener.accept()[0])
                connection.sendall(b"SSH-2.0-Hung\r\n")

    threading.Thread(target=serve, daemon=True).start()
    stack.callback(lambda: _wake(listener))
    return int(listener.getsockname()[1])


def _wake(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


KINDS = (_swallowing, _silent, _greeting, _swallowing)


@contextmanager
def dead_hosts(count: int, config: Path, known_hosts: Path) -> Iterator[list[str]]:
    """Add dead1, dead2, ... to an ssh configuration, and yield their names."""
    names = []
    with ExitStack() as stack:
        with config.open("a") as file:
            for number in range(1, count + 1):
                address = f"127.0.{100 + number // 250}.{1 + number % 250}"
                port = KINDS[number % len(KINDS)](address, stack)
                names.append(f"dead{number}")
                file.write(f"\nHost dead{number}\n  HostName {address}\n  Port {port}\n")
                file.write(f"  UserKnownHostsFile {known_hosts}\n")
        yield names
