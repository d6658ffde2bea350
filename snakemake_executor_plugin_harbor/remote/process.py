"""A subprocess as a channel: what LocalTransport and the openssh transport share. Imports nothing of ours."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Sequence

READ_SIZE = 65536
STDERR_KEPT = 8192
END_GRACE_S = 2.0
"""A command whose stdin has ended has this long to end by itself: the ssh program may carry other sessions."""

AFTERMATH_S = 2.0
"""Once the output has ended, the rest of stderr and the exit status are waited for this long."""


def clean_environment() -> dict[str, str]:
    """Our environment less Snakemake's credentials, which no child process has any use for.

    An empty PATH is as none: a shell then looks where the system has its programs.
    """
    env = {key: value for key, value in os.environ.items() if not re.fullmatch(r"SNAKEMAKE_\w*_PASSWORD", key)}
    return env if env.get("PATH") else {**env, "PATH": os.defpath}


class Tail:
    """The last 8 KiB of a stream of bytes. One writer, any number of readers."""

    def __init__(self) -> None:
        self._kept = b""

    def add(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-STDERR_KEPT:]

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


class ProcessChannel:
    """A command with its stdin, stdout and stderr; a Channel (transport.py).

    The three are sockets, as sshd gives them: shutdown() from any thread wakes a blocked read or write, which
    closing a pipe does not. The command leads a session of its own, so that Ctrl-C in the terminal is not for it.
    Raises OSError when the command cannot be started.
    """

    def __init__(self, argv: Sequence[str], env: dict[str, str]) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        self._stdin, self._stdout, self._stderr = (ours for ours, _ in pairs)
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=pairs[0][1].fileno(),
                stdout=pairs[1][1].fileno(),
                stderr=pairs[2][1].fileno(),
                env=env,
                start_new_session=True,
            )
        except BaseException:
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()
        self._tail = Tail()
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._drained = threading.Event()
        name = f"harbor-stderr-{self._process.pid}"
        threading.Thread(target=self._keep, name=name, daemon=True).start()

    def runs(self) -> bool:
        """Whether the command has not ended yet."""
        return self._process.poll() is None

    def read(self) -> bytes:
        data = b""
        if not self._closed.is_set():
            try:
                data = self._stdout.recv(READ_SIZE)
            except OSError:
                pass  # closed under us: the end
        if not data:
            self._ended.set()
        return data

    def write(self, data: bytes) -> None:
        self._stdin.sendall(data)

    def close(self) -> None:
        self._closed.set()
        for end in (self._stdin, self._stdout, self._stderr):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other end is gone already

    def stderr(self) -> str:
        if self._ended.is_set() or not self.runs():
            self._drained.wait(AFTERMATH_S)
        return self._tail.text()

    def exit_status(self) -> int | None:
        try:
            code = self._process.wait(AFTERMATH_S if self._ended.is_set() and not self._closed.is_set() else 0)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else None

    def ended(self) -> bool:
        """Whether the output has ended, or the channel is closed."""
        return self._ended.is_set() or self._closed.is_set()

    def _keep(self) -> None:
        """Keep the last of stderr, then, once closed, see the command off."""
        try:
            while data := self._stderr.recv(READ_SIZE):
                self._tail.add(data)
        except OSError:
            pass  # closed under us: nothing more to keep
        self._drained.set()
        self._closed.wait()
        for end in (self._process.poll, self._process.terminate, self._process.kill):
            end()
            try:
                self._process.wait(END_GRACE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        for ours in (self._stdin, self._stdout, self._stderr):
            ours.close()
