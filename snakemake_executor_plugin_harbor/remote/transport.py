"""How bytes reach a node: one Transport is one connection, one Channel is one command at its end.

This file holds the shapes, the errors and the way to this machine; ssh.py and openssh.py are the ways to others.
They are imported only when used: `import paramiko` costs 0.1 s, and Snakemake imports every plugin at every start.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .descriptors import as_inherited
from .process import ProcessChannel, clean_environment


class Channel(Protocol):
    """A running command's stdin and stdout as bytes. read and write are for one thread each; the rest for any."""

    def read(self) -> bytes:
        """Block for up to 64 KiB; b"" at the end, also after close() from another thread."""

    def write(self, data: bytes) -> None:
        """Block until all of `data` is taken; OSError when the channel is gone."""

    def close(self) -> None:
        """End the channel at once, waking a blocked read and write. Any thread, any number of times."""

    def stderr(self) -> str:
        """The last 8 KiB (at most) that the command wrote to stderr; complete once the output has ended."""

    def exit_status(self) -> int | None:
        """After the end of the output: the command's exit code. None: not known, or a signal ended it."""


class Transport(Protocol):
    """One connection: open() is called once, close() ends the connection and everything that it needed."""

    def open(self, command: str, first: bool = False) -> Channel:
        """Connect, authenticate, start `command` through the user's login shell. Raises ConnectError.

        `first`: before other connections that wait for their turn, because this host is known to be good.
        """

    def close(self) -> None:
        """End the connection; also from another thread, while open() is at work. Never blocks for long."""


@dataclass(frozen=True)
class Target:
    """A node as the host list names it: `[USER@]HOST[:PORT]`; None where the ssh configuration decides."""

    name: str
    host: str
    user: str | None
    port: int | None
    local: bool


@dataclass(frozen=True)
class SshSettings:
    """`ssh_config` None: the user's own. `connect_timeout`: seconds for each of TCP, greeting and login."""

    ssh_config: Path | None
    password: str | None
    connect_timeout: float = 15

    def __repr__(self) -> str:
        return f"SshSettings(ssh_config={self.ssh_config!r}, connect_timeout={self.connect_timeout!r})"


PERMANENT = frozenset({"name", "host_key_unknown", "host_key_changed", "auth", "config"})
"""Kinds that trying again does not mend. The others: refused, timeout, unreachable, proxy, closed, other."""


class ConnectError(Exception):
    """A node could not be reached. `message` is "node NAME: what, where, why", `hint` the next command to type."""

    def __init__(self, kind: str, message: str, hint: str | None = None, permanent: bool | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\n  Try: {hint}")
        self.kind = kind
        self.message = message
        self.hint = hint
        self.permanent = kind in PERMANENT if permanent is None else permanent


def make_transport(target: Target, kind: str, settings: SshSettings) -> Transport:
    """A connection to be opened. `kind` is "paramiko" or "openssh"; a local target needs neither."""
    if target.local:
        return LocalTransport(target)
    if kind == "openssh":
        from .ssh.openssh_transport import OpensshTransport

        return OpensshTransport(target, settings)
    from .ssh.paramiko_transport import ParamikoTransport

    return ParamikoTransport(target, settings)


class LocalTransport:
    """This machine as a node: the same command, through /bin/sh instead of an SSH server."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel: ProcessChannel | None = None
        self._closed = False

    def open(self, command: str, first: bool = False) -> Channel:
        try:
            channel = ProcessChannel(["/bin/sh", "-c", as_inherited() + command], clean_environment())
        except OSError as error:
            raise ConnectError("other", f"node {self._target.name}: cannot start /bin/sh: {error}") from error
        self._channel = channel
        if self._closed:
            channel.close()
        return channel

    def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            self._channel.close()
