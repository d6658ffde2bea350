"""Makes a channel from a subprocess. The local transport and the openssh transport use it."""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Sequence

READ_SIZE = 65536
STDERR_KEPT = 8192
END_GRACE_S = 2.0
"""After the end of its stdin, a command has this long to end by itself. The ssh program may carry other sessions."""

AFTERMATH_S = 2.0
"""After the end of the output, the rest of stderr and the exit status are waited for this long."""


def clean_environment() -> dict[str, str]:
    """Return our environment without Snakemake's credentials, because no child process needs them.

    An empty PATH is replaced by the default, because a shell without PATH searches the system's directories.
    """
    env = {key: value for key, value in os.environ.items() if not re.fullmatch(r"SNAKEMAKE_\w*_PASSWORD", key)}
    return env if env.get("PATH") else {**env, "PATH": os.defpath}


class Tail:
    """Keeps the last 8 KiB of a stream of bytes. There may be one writer and several readers."""

    def __init__(self) -> None:
        self._kept = b""

    def add(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-STDERR_KEPT:]

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


class ProcessChannel:
    """Runs a command and gives access to its stdin, stdout and stderr. It is a Channel of transport.py.

    The three are sockets, as sshd makes them, because shutdown() from any thread wakes a blocked read or write. Closing
    a pipe does not. The command gets a session of its own, so that it does not receive a Ctrl-C in the terminal.
    The constructor raises OSError if the command cannot be started.
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
        self._stderr_complete = threading.Event()
        name = f"harbor-stderr-{self._process.pid}"
        threading.Thread(target=self._read_stderr_and_end, name=name, daemon=True).start()

    def runs(self) -> bool:
        """Return True if the command has not ended yet."""
        return self._process.poll() is None

    def read(self) -> bytes:
        data = b""
        if not self._closed.is_set():
            try:
                data = self._stdout.recv(READ_SIZE)
            except OSError:
                pass  # another thread has closed the channel
        if not data:
            self._ended.set()
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._stdin.sendall(data)

    def close(self) -> None:
        self._closed.set()
        for sock in (self._stdin, self._stdout, self._stderr):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other end is closed already

    def stderr(self) -> str:
        if self._ended.is_set() or not self.runs():
            self._stderr_complete.wait(AFTERMATH_S)
        return self._tail.text()

    def exit_status(self) -> int | None:
        try:
            code = self._process.wait(AFTERMATH_S if self._ended.is_set() and not self._closed.is_set() else 0)
        except subprocess.TimeoutExpired:
            return None
        return code if code >= 0 else None

    def ended(self) -> bool:
        """Return True if the output has ended or the channel is closed."""
        return self._ended.is_set() or self._closed.is_set()

    def _read_stderr_and_end(self) -> None:
        """Keep the last part of stderr. After close(), wait for the end of the command and kill it if necessary."""
        try:
            while data := self._stderr.recv(READ_SIZE):
                self._tail.add(data)
        except OSError:
            pass  # another thread has closed the channel
        self._stderr_complete.set()
        self._closed.wait()
        for end in (self._process.poll, self._process.terminate, self._process.kill):
            end()
            try:
                self._process.wait(END_GRACE_S)
                break
            except subprocess.TimeoutExpired:
                continue
        for sock in (self._stdin, self._stdout, self._stderr):
            sock.close()
