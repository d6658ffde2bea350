"""The way to a node through the ssh program: for what paramiko cannot do (GSSAPI, security keys, ControlMaster).

ssh writes its own messages to a log file, apart from the remote command's stderr; from them we learn when the command
has been started, and why not. The password goes to ssh through an askpass script that reads it from a pipe.
"""

import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..process import ProcessChannel, clean_environment
from ..transport import Channel, ConnectError, SshSettings, Target
from .config import HostOptions, resolve, target_words
from .errors import ConnectErrors, kind_of_text, telling_line
from .known_hosts import ShownKey
from .login import locked_files
from .login_limits import BEHIND_JUMP_S, LOGIN_S, STALLED_S, of_server, programs

CONNECTED = "debug1: Connection established."
STARTED = re.compile(r"^debug1: (Sending command: |mux_client_request_session: master session id)", re.MULTILINE)
"""What ssh logs once it is logged in and asks for the command; the second over the user's ControlMaster."""
LOOK_EVERY_S = 0.02
STEPS = 3
"""TCP, greeting and login may each take the connect timeout."""
PROMPTS = 16
"""Each jump host and the host itself ask once."""
_ASKPASS = """#!/bin/sh
# Only for the password: no passphrase of a key, no code, no "are you sure".
case "$1" in
*[Pp]assword*) IFS= read -r answer <"$(dirname "$0")/answers" && printf '%s\\n' "$answer" ;;
*) exit 1 ;;
esac
"""
_NOISE = re.compile(
    r"debug\d: |OpenSSH_|Authenticated to |Pseudo-terminal |Transferred: |Bytes per second|Warning: Perm"
)


class OpensshTransport:
    """One connection by the ssh program; a Transport (transport.py)."""

    def __init__(self, target: Target, settings: SshSettings) -> None:
        self._target = target
        self._settings = settings
        self._closed = threading.Event()
        self._channel: _SshChannel | None = None
        self._directory: Path | None = None
        self._answers: int | None = None

    def open(self, command: str, first: bool = False) -> Channel:
        try:
            return self._open(command, first)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closed.set()
        if self._channel is not None:
            self._channel.close()
        self._tidy()

    def _tidy(self) -> None:
        answers, self._answers = self._answers, None
        if answers is not None:
            os.close(answers)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _open(self, command: str, first: bool) -> Channel:
        if shutil.which("ssh") is None:
            message = f"node {self._target.name}: the ssh program is not installed on this machine"
            raise ConnectError("config", message, "snakemake --harbor-transport paramiko")
        options = resolve(self._target, self._settings)
        self._directory = Path(tempfile.mkdtemp(prefix="harbor-ssh-"))
        log = self._directory / "log"
        argv = ["ssh", "-E", str(log), *self._flags(options), *target_words(self._target, self._settings), command]
        # Behind a jump host it is the jump host's sshd that counts us.
        place = (options.proxy_jump[0], 0) if options.proxy_jump else (options.hostname, options.port)
        limit = BEHIND_JUMP_S if options.proxy_jump else STALLED_S
        with of_server(*place).hold(limit, first) as keep, programs.hold(STALLED_S, first):
            if self._closed.is_set():
                raise self._given_up()
            self._channel = channel = _SshChannel(argv, self._environment(), log)
            self._await_start(options, channel, lambda: keep(LOGIN_S))
        self._tidy()
        return channel

    def _await_start(self, options: HostOptions, channel: "_SshChannel", on_connected: Callable[[], None]) -> None:
        """Return when the command has been started. Raises ConnectError."""
        connected = False
        deadline = time.monotonic() + options.connect_timeout * STEPS * (1 + len(options.proxy_jump))
        while not self._closed.wait(LOOK_EVERY_S):
            runs, said = channel.runs(), channel.log()
            if STARTED.search(said):
                return
            if not runs:
                raise _fault(options, channel)
            if time.monotonic() > deadline:
                raise ConnectErrors(options).unreached("timeout", "the login takes too long")
            if not connected and CONNECTED in said:
                connected = True
                on_connected()
        raise self._given_up()

    def _given_up(self) -> ConnectError:
        return ConnectError("closed", f"node {self._target.name}: given up while connecting")

    def _flags(self, options: HostOptions) -> list[str]:
        """ssh's options: ours first, as the first value that ssh meets holds; the rest is the user's configuration."""
        password = self._settings.password is not None
        values = {
            "BatchMode": "no" if password else "yes",
            "ClearAllForwardings": "yes",  # LocalForward of the user's: taken already by the second connection
            "ConnectTimeout": str(max(1, math.ceil(options.connect_timeout))),
            "LogLevel": "DEBUG1",
            "NumberOfPasswordPrompts": "1",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "ServerAliveCountMax": "4",
            "ServerAliveInterval": str(options.alive_interval),
        }
        return ["-T", "-x", "-a", *(word for key, value in values.items() for word in ("-o", f"{key}={value}"))]

    def _environment(self) -> dict[str, str]:
        """For ssh and the ssh of its jump hosts, which gets none of our options: it must not ask on a screen."""
        env = clean_environment()
        env["SSH_ASKPASS_REQUIRE"] = "never"
        if self._settings.password is not None and self._directory is not None:
            self._offer_password(self._directory, self._settings.password)
            env.update(SSH_ASKPASS=str(self._directory / "askpass"), SSH_ASKPASS_REQUIRE="force")
            env.setdefault("DISPLAY", ":0")  # before OpenSSH 8.4 askpass was not used without one
        return env

    def _offer_password(self, directory: Path, password: str) -> None:
        """Make the askpass script and the pipe that it reads. The password is on no disk and in no environment: ssh
        gives its environment to the proxy command, to Match exec, and by SendEnv to the server.
        """
        script, pipe = directory / "askpass", directory / "answers"
        script.write_text(_ASKPASS)
        script.chmod(0o700)
        os.mkfifo(pipe, 0o600)
        # Open for both ways, so that it neither waits for a reader nor loses what nobody has read yet.
        self._answers = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        os.write(self._answers, f"{password}\n".encode() * PROMPTS)


class _SshChannel(ProcessChannel):
    """ssh and, through it, the command on the node; a Channel (transport.py)."""

    def __init__(self, argv: list[str], env: dict[str, str], log: Path) -> None:
        # Ours before ssh opens it: once the command runs, the directory goes, and the log is read on.
        self._log = log.open("a+b", buffering=0)
        self._lock = threading.Lock()
        self._said = ""
        super().__init__(argv, env)

    def close(self) -> None:
        super().close()
        self.log()
        with self._lock:
            self._log.close()

    def log(self) -> str:
        """What ssh has said so far, debug messages included."""
        with self._lock:
            if not self._log.closed:
                size = os.fstat(self._log.fileno()).st_size
                self._said = os.pread(self._log.fileno(), size, 0).decode(errors="replace")
            return self._said

    def complaints(self) -> str:
        """What ssh has said that is meant for users."""
        return "\n".join(line for line in self.log().splitlines() if not _NOISE.match(line))

    def aside(self) -> str:
        """stderr as it came: the command's, and that of the jump hosts' ssh or of the proxy command."""
        return super().stderr()

    def stderr(self) -> str:
        text = super().stderr()
        complaints = self.complaints() if self.ended() else ""
        return f"{text.rstrip()}\n{complaints}".lstrip() if complaints else text

    def exit_status(self) -> int | None:
        # 255 is ssh's own failure: whatever the command's status was, it is not this.
        status = super().exit_status()
        return None if status == 255 else status


def _fault(options: HostOptions, channel: _SshChannel) -> ConnectError:
    """Why ssh ended before it started the command."""
    faults, said, aside = ConnectErrors(options), channel.complaints(), channel.aside()
    if aside.strip() and (options.proxy_jump or options.proxy_command):
        # The jump hosts' ssh and the proxy command know why; ssh knows only that they ended.
        return faults.on_the_way(aside)
    kind, line = kind_of_text(said), telling_line(said)
    shown = re.search(r"Server host key: (\S+) (SHA256:\S+)", channel.log())
    key = ShownKey(shown[1], shown[2]) if shown else None
    if kind == "host_key_unknown":
        return faults.unknown_key(key)
    if kind == "host_key_changed":
        where = re.search(r"Offending \S+ key in (\S+:\d+)", said)
        return faults.changed_key(key, where[1] if where else "known_hosts", revoked="marked as revoked" in said)
    if kind == "auth":
        return faults.denied(line, locked_files(options))
    return faults.unreached(kind, "" if kind in ("refused", "timeout", "unreachable") else line)
