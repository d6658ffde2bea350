"""Connects by the ssh program, for what paramiko cannot do (GSSAPI, security keys, ControlMaster).

ssh writes its own messages to a log file, so that they are apart from the remote command's stderr. They show when the
command has been started, or why it was not. ssh gets the password from an askpass script that reads it from a pipe.
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

from ..process_channel import ProcessChannel, clean_environment
from ..transport import Channel, ConnectError, SshSettings, Target, login_command
from .config import read_host_options, target_arguments
from .errors import ConnectErrors, kind_of_text, most_relevant_line
from .host_options import HostOptions
from .keys import locked_files
from .known_hosts import KeyFingerprint
from .login_limits import BEHIND_JUMP_S, LOGIN_S, STALLED_S, server_limit, ssh_programs

CONNECTED = "debug1: Connection established."
STARTED = re.compile(r"^debug1: (Sending command: |mux_client_request_session: master session id)", re.MULTILINE)
"""ssh logs this line when it is logged in and starts the command. The second form is that of a ControlMaster."""
LOG_POLL_S = 0.02
STEPS = 3
"""The connect timeout applies to each of TCP connection, greeting and login."""
PROMPTS = 16
"""The password is available this many times, because each jump host and the host itself ask for it."""
_ASKPASS = """#!/bin/sh
# Answers only the question for the password. It answers no question for a passphrase, a code or a confirmation.
case "$1" in
*[Pp]assword*) IFS= read -r answer <"$(dirname "$0")/answers" && printf '%s\\n' "$answer" ;;
*) exit 1 ;;
esac
"""
_NOISE = re.compile(
    r"debug\d: |OpenSSH_|Authenticated to |Pseudo-terminal |Transferred: |Bytes per second|Warning: Perm"
)


class OpensshTransport:
    """Makes one connection by the ssh program. It is a Transport of transport.py."""

    def __init__(self, target: Target, settings: SshSettings) -> None:
        self.login = login_command(target, settings)
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
        self._remove_files()

    def _remove_files(self) -> None:
        answers, self._answers = self._answers, None
        if answers is not None:
            os.close(answers)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _open(self, command: str, first: bool) -> Channel:
        if shutil.which("ssh") is None:
            message = f"node {self._target.name}: the ssh program is not installed on this machine"
            raise ConnectError("config", message, "snakemake --harbor-transport paramiko")
        options = read_host_options(self._target, self._settings)
        self._directory = Path(tempfile.mkdtemp(prefix="harbor-ssh-"))
        log = self._directory / "log"
        argv = [
            "ssh",
            "-E",
            str(log),
            *self._options(options),
            *target_arguments(self._target, self._settings),
            command,
        ]
        # Behind a jump host, the limit of the jump host's sshd applies.
        server = (options.proxy_jump[0], 0) if options.proxy_jump else (options.hostname, options.port)
        seconds = BEHIND_JUMP_S if options.proxy_jump else STALLED_S
        with server_limit(*server).hold(seconds, first) as hold_for, ssh_programs.hold(STALLED_S, first):
            if self._closed.is_set():
                raise self._closed_while_opening()
            self._channel = channel = _SshChannel(argv, self._environment(), log)
            self._wait_until_started(options, channel, lambda: hold_for(LOGIN_S))
        self._remove_files()
        return channel

    def _wait_until_started(self, options: HostOptions, channel: "_SshChannel", on_connect: Callable[[], None]) -> None:
        """Return when the command has been started. Raises ConnectError."""
        connected = False
        deadline = time.monotonic() + options.connect_timeout * STEPS * (1 + len(options.proxy_jump))
        while not self._closed.wait(LOG_POLL_S):
            runs, log = channel.runs(), channel.log()
            if STARTED.search(log):
                return
            if not runs:
                raise _connect_error(options, channel)
            if time.monotonic() > deadline:
                raise ConnectErrors(options).not_connected("timeout", "the login takes too long")
            if not connected and CONNECTED in log:
                connected = True
                on_connect()
        raise self._closed_while_opening()

    def _closed_while_opening(self) -> ConnectError:
        return ConnectError("closed", f"node {self._target.name}: the connection was closed while it was being opened")

    def _options(self, options: HostOptions) -> list[str]:
        """Return ssh's options. They precede the user's configuration, and ssh uses the first value that it finds."""
        password = self._settings.password is not None
        values = {
            "BatchMode": "no" if password else "yes",
            "ClearAllForwardings": "yes",  # a second connection could not listen on the port of a LocalForward
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
        """Return the environment of ssh. The ssh of its jump hosts gets none of our options, but this environment.

        Neither may ask questions on the screen.
        """
        env = clean_environment()
        env["SSH_ASKPASS_REQUIRE"] = "never"
        if self._settings.password is not None and self._directory is not None:
            self._offer_password(self._directory, self._settings.password)
            env.update(SSH_ASKPASS=str(self._directory / "askpass"), SSH_ASKPASS_REQUIRE="force")
            env.setdefault("DISPLAY", ":0")  # before OpenSSH 8.4, ssh used askpass only if this was set
        return env

    def _offer_password(self, directory: Path, password: str) -> None:
        """Make the askpass script and the pipe that it reads.

        The password is in no file and in no environment, because ssh gives its environment to the proxy command, to
        Match exec, and with SendEnv to the server.
        """
        script, pipe = directory / "askpass", directory / "answers"
        script.write_text(_ASKPASS)
        script.chmod(0o700)
        os.mkfifo(pipe, 0o600)
        # With both directions open, the pipe neither waits for a reader nor loses what is not read yet.
        self._answers = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        os.write(self._answers, f"{password}\n".encode() * PROMPTS)


class _SshChannel(ProcessChannel):
    """Runs ssh and, through it, the command on the node. It is a Channel of transport.py."""

    def __init__(self, argv: list[str], env: dict[str, str], log: Path) -> None:
        # The file is opened before ssh opens it. It is read on after the directory has been removed.
        self._log = log.open("a+b", buffering=0)
        self._lock = threading.Lock()
        self._log_text = ""
        super().__init__(argv, env)

    def close(self) -> None:
        super().close()
        self.log()
        with self._lock:
            self._log.close()

    def log(self) -> str:
        """Return what ssh has written to its log so far, including debug messages."""
        with self._lock:
            if not self._log.closed:
                size = os.fstat(self._log.fileno()).st_size
                self._log_text = os.pread(self._log.fileno(), size, 0).decode(errors="replace")
            return self._log_text

    def messages(self) -> str:
        """Return the lines of the log that are meant for users."""
        return "\n".join(line for line in self.log().splitlines() if not _NOISE.match(line))

    def command_stderr(self) -> str:
        """Return stderr without ssh's log. It comes from the command, the jump hosts' ssh and the proxy command."""
        return super().stderr()

    def stderr(self) -> str:
        text = super().stderr()
        messages = self.messages() if self.ended() else ""
        return f"{text.rstrip()}\n{messages}".lstrip() if messages else text

    def exit_status(self) -> int | None:
        # 255 means that ssh itself failed. The command's exit status is unknown then.
        status = super().exit_status()
        return None if status == 255 else status


def _connect_error(options: HostOptions, channel: _SshChannel) -> ConnectError:
    """Return the reason why ssh ended before it started the command."""
    errors, messages, stderr = ConnectErrors(options), channel.messages(), channel.command_stderr()
    if stderr.strip() and (options.proxy_jump or options.proxy_command):
        # The jump hosts' ssh and the proxy command know the reason. ssh knows only that they ended.
        return errors.proxy_failed(stderr)
    kind, line = kind_of_text(messages), most_relevant_line(messages)
    shown = re.search(r"Server host key: (\S+) (SHA256:\S+)", channel.log())
    key = KeyFingerprint(shown[1], shown[2]) if shown else None
    if kind == "host_key_unknown":
        return errors.unknown_key(key)
    if kind == "host_key_changed":
        where = re.search(r"Offending \S+ key in (\S+:\d+)", messages)
        return errors.changed_key(key, where[1] if where else "known_hosts", revoked="marked as revoked" in messages)
    if kind == "auth":
        interactive = "with partial success" in channel.log() or re.search(r"\(keyboard-interactive\)", line)
        return errors.login_refused(line, locked_files(options), errors.hint_for_master() if interactive else None)
    return errors.not_connected(kind, "" if kind in ("refused", "timeout", "unreachable") else line)
