"""Defines the interfaces of a connection to a node, and the error that is raised when a node cannot be reached.

A Transport is one connection. A Channel is the one command that runs at its other end. `connect.py` makes transports.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Channel(Protocol):
    """Gives access to a running command's stdin, stdout and stderr as bytes.

    One thread may call read() and another one write(). All other methods may be called from any thread.
    """

    def read(self) -> bytes:
        """Block until there is output, and return up to 64 KiB. Returns b"" at the end and after close()."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Block until all of `data` has been accepted. Raises OSError if the channel is closed or broken."""

    def close(self) -> None:
        """Close the channel immediately and wake a blocked read() or write(). Repeated calls are allowed."""

    def stderr(self) -> str:
        """Return the last 8 KiB that the command wrote to stderr. They are complete once the output has ended."""

    def exit_status(self) -> int | None:
        """Return the exit code after the end of the output, or None if it is unknown or a signal ended the command."""


class Transport(Protocol):
    """Makes one connection. open() is called once. close() ends the connection and everything that belongs to it.

    `login` is the command line with which the user logs in to the node. It is empty for this machine.
    """

    login: str

    def open(self, command: str, first: bool = False) -> Channel:
        """Connect, authenticate, and start `command` through the user's login shell. Raises ConnectError.

        `first`: take precedence over other connections that wait for a place, because this host is known to work.
        """

    def close(self) -> None:
        """End the connection. Another thread may call this during open(). It never blocks for long."""


@dataclass(frozen=True)
class Target:
    """Names a node as the host list does: `[USER@]HOST[:PORT]`. If a field is None, the ssh configuration decides."""

    name: str
    host: str
    user: str | None
    port: int | None
    local: bool


@dataclass(frozen=True)
class SshSettings:
    """Holds the settings of all SSH connections of a run.

    `ssh_config`: None stands for the user's own configuration. `connect_timeout`: the limit in seconds for each of the
    TCP connection, the server's greeting and the login.
    """

    ssh_config: Path | None
    password: str | None
    connect_timeout: float = 15

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"SshSettings(ssh_config={self.ssh_config!r}, connect_timeout={self.connect_timeout!r})"


def typed_target(target: Target, settings: SshSettings) -> list[str]:
    """Return the arguments that name `target` on a command line of ssh, as a user would type them."""
    words = ["-F", str(settings.ssh_config)] if settings.ssh_config else []
    words += ["-p", str(target.port)] if target.port else []
    return [*words, f"{target.user}@{target.host}" if target.user else target.host]


def login_command(target: Target, settings: SshSettings) -> str:
    """Return the command line with which the user logs in to the node."""
    return shlex.join(["ssh", *typed_target(target, settings)])


PERMANENT = frozenset({"name", "host_key_unknown", "host_key_changed", "auth", "config"})
"""A retry does not help after a ConnectError of these kinds. The other kinds are refused, timeout, unreachable, proxy,
closed and other."""


class ConnectError(Exception):
    """Says that a node could not be reached, and why.

    `message` reads "node NAME: what, where, why". `hint` is the next command to type. `permanent` is True if a retry
    without a change by the user is useless.
    """

    def __init__(self, kind: str, message: str, hint: str | None = None, permanent: bool | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  Try: {hint}")
        self.kind = kind
        self.message = message
        self.hint = hint
        self.permanent = kind in PERMANENT if permanent is None else permanent
