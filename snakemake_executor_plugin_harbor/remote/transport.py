"""How bytes get to a node and back: the cut between links and subprocess, paramiko or the ssh program."""

import os
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK = 1 << 16
STDERR_KEPT = 8192


class Channel(Protocol):
    """One remote command's stdin and stdout."""

    def read(self) -> bytes:
        """Block for up to 64 KiB; b"" at the end, also after `close` from another thread."""

    def write(self, data: bytes) -> None:
        """Block until all is taken. OSError when the channel is gone."""

    def close(self) -> None:
        """Idempotent, from any thread; unblocks read and write."""

    def stderr(self) -> str:
        """The last 8 KiB of the command's stderr."""

    def exit_status(self) -> int | None:
        """The command's exit status, if it has ended and sent one."""


class Transport(Protocol):
    """One connection."""

    def open(self, command: str) -> Channel:
        """Connect, authenticate, start `command` by the user's login shell. Raises ConnectError."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True)
class Target:
    """Where a node is."""

    name: str
    host: str
    user: str | None
    port: int | None
    local: bool


@dataclass(frozen=True)
class SshSettings:
    """What both SSH transports are told."""

    ssh_config: Path | None
    password: str | None
    connect_timeout: float = 15.0


class ConnectError(Exception):
    """A connection that could not be made. `permanent` ones are never retried: a refused key stays refused."""

    PERMANENT = frozenset({"host_key_unknown", "host_key_changed", "auth", "config", "name"})

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.permanent = kind in self.PERMANENT


def make_transport(target: Target, kind: str, settings: SshSettings) -> Transport:
    """The transport for a node; `kind` is `paramiko` or `openssh`. Imports lazily: paramiko takes 0.12 s."""
    if target.local:
        return LocalTransport()
    if kind == "openssh":
        from .openssh import OpensshTransport

        return OpensshTransport(target, settings)
    from .ssh import ParamikoTransport

    return ParamikoTransport(target, settings)


def clean_environment() -> dict[str, str]:
    """Our environment less the passwords that Snakemake's plugins take from it."""
    return {
        name: value
        for name, value in os.environ.items()
        if not (name.startswith("SNAKEMAKE_") and name.endswith("_PASSWORD"))
    }


class LocalTransport:
    """This machine, without SSH: the same agent in a subprocess."""

    def __init__(self) -> None:
        self._channel: ProcessChannel | None = None

    def open(self, command: str) -> "ProcessChannel":
        """Run `command` by /bin/sh, in a session of its own: Ctrl-C in the terminal is for Snakemake only."""
        self._channel = ProcessChannel(["/bin/sh", "-c", command], clean_environment())
        return self._channel

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


class ProcessChannel:
    """A subprocess as a channel."""

    def __init__(self, argv: list[str], env: dict[str, str], pass_fds: tuple[int, ...] = ()) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True, bufsize=0, pass_fds=pass_fds
        )
        self._ring: deque[bytes] = deque(maxlen=STDERR_KEPT // 512)
        self._lock = threading.Lock()
        self._closed = False
        self._drain = threading.Thread(target=self._keep_stderr, name="harbor-stderr", daemon=True)
        self._drain.start()

    def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := self._process.stderr.read(512):
            self._ring.append(data)

    def read(self) -> bytes:
        assert self._process.stdout is not None
        try:
            return self._process.stdout.read(CHUNK)
        except (OSError, ValueError):
            return b""

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._process.stdin.write(view) :]
        except ValueError as error:
            raise OSError("the channel is closed") from error

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        # The agent ends at the end of its input, the ssh program with its connection; both close our stdout.
        try:
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            pass
        self._process.terminate()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def stderr(self) -> str:
        self._drain.join(0.5)
        return b"".join(self._ring)[-STDERR_KEPT:].decode("utf-8", "replace")

    def exit_status(self) -> int | None:
        return self._process.poll()
