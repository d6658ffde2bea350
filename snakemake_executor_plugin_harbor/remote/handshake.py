"""Starts the agent at the other end of a channel and waits until it is ready.

The agent answers with one `hello`, then a `known` message per job record in its spool, then `ready`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core import events as ev
from ..core.codec import Decoder, Message
from ..core.protocol import record_of
from .bootstrap import bootstrap_input
from .transport import Channel

NOISE_MAX = 64 * 1024
"""This many bytes of login noise (motd, output of profile scripts) may precede the agent's first line."""
RECORDS_MAX = 100_000
"""A node may list this many records. An agent keeps a tenth of this before it deletes records that are forgotten."""
LISTING_MAX = 16 << 20
"""A node may send this many bytes between hello and ready."""
PERMANENT_CODES = ("scratch", "protocol", "platform", "python")
"""A retry does not help after a `fatal` message with one of these codes."""
HINTS = {
    "scratch": "name another directory: --harbor-scratch PATH, or scratch: PATH for this node in a .yaml host file",
    "full": "{login} df -h /var/tmp   # or name another disk: --harbor-scratch PATH",
}
"""The next command to type after a `fatal` message, by its code."""
PYTHON_HINT = "install Python 3.6 or newer there, or name it in a .yaml host file (python: /path/to/python3)"
SHELL_HINT = "{login}   # and look for `exit`, `exec` and `read` in ~/.bashrc, ~/.profile, ~/.cshrc or config.fish"
FIRST = ("hello", "fatal")
"""The agent's first message is one of these."""
SHOWN = 60
"""This many characters of login noise are shown."""
_WINDOWS = re.compile(r"""['"\u201c\u00ab]\s?exec\s?['"\u201d\u00bb]""")
"""cmd.exe and PowerShell name the command that they do not know in quotation marks, in every language."""


class AgentError(Exception):
    """The agent did not start, or it gave up. `permanent`: a retry alone does not help.

    `hint` is the next command to type, in which `{login}` stands for the command line that logs in to the node.
    """

    def __init__(self, reason: str, permanent: bool = False, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent
        self.hint = hint


@dataclass(frozen=True)
class AgentReady:
    """Holds the agent's answer. `rest` are the messages that came in the same read after `ready`.

    `noise` is what the login shell printed before the agent's first message.
    """

    hello: Message
    records: tuple[ev.NodeRecord, ...]
    rest: list[Message]
    noise: str


def start_agent(
    channel: Channel,
    welcome: Message,
    read: Callable[[], bytes],
    decoder: Decoder,
    on_other_message: Callable[[Message], None],
) -> AgentReady:
    """Send the agent's program and the welcome message, then wait until the agent is ready. Raises AgentError.

    `read` returns the next bytes of the channel. `decoder` is used for all of them.
    """
    hello, messages, noise = start_program(channel, bootstrap_input(welcome), read, decoder)
    records: list[ev.NodeRecord] = []
    size = 0
    while True:
        for message in messages:
            if message["t"] == "known":
                record = record_of(message)
                if record is not None:
                    records.append(record)
                if len(records) > RECORDS_MAX:
                    raise AgentError(f"it lists more than {RECORDS_MAX} jobs", permanent=True)
            elif message["t"] == "ready":
                return AgentReady(hello, tuple(records), list(messages), noise)
            elif message["t"] == "fatal":
                raise fatal_error(message)
            else:
                on_other_message(message)
        data = read()
        if not data:
            raise AgentError(connection_closed(channel))
        size += len(data)
        if size > LISTING_MAX:
            raise AgentError(f"it sent more than {LISTING_MAX >> 20} MiB before it was ready", permanent=True)
        messages = iter(list(decoder.feed(data)))


def start_program(
    channel: Channel, data: bytes, read: Callable[[], bytes], decoder: Decoder
) -> tuple[Message, Iterator[Message], str]:
    """Send a program with its first message, and wait for its hello. Raises AgentError.

    Returns the hello, the messages that came in the same read after it, and what the login shell printed before it.
    """
    write_error = _write(channel, data)
    messages, noise = _from_hello_on(read, decoder)
    hello = next(messages, None)
    if hello is None:
        raise explain_missing_hello(channel, write_error, noise)
    if hello["t"] == "fatal":
        raise fatal_error(hello)
    return hello, messages, noise


def _write(channel: Channel, data: bytes) -> str:
    """Write `data` and return the text of the error, or "".

    An error is not raised here, because the node's shell may have ended and its stderr then says why.
    """
    try:
        channel.write(data)
    except OSError as error:
        return str(error)
    return ""


def _from_hello_on(read: Callable[[], bytes], decoder: Decoder) -> tuple[Iterator[Message], str]:
    """Skip login noise. Return the agent's first message and those that came in the same read after it, and the noise.

    There is no message if the output has ended, or if there is too much noise.
    """
    received = b""
    while data := read():
        received += data
        messages = list(decoder.feed(data))
        for index, message in enumerate(messages):
            if message["t"] in FIRST:
                return iter(messages[index:]), _noise(received)
        if len(received) > NOISE_MAX:
            break
    return iter(()), _noise(received)


def _noise(received: bytes) -> str:
    """Return the text before the line that is the agent's first message."""
    lines = received.split(b"\n")
    count = next((n for n, line in enumerate(lines) if _is_first_message(line)), len(lines))
    return b"\n".join(lines[:count]).decode("utf-8", "replace").strip()


def _is_first_message(line: bytes) -> bool:
    return any(message["t"] in FIRST for message in Decoder().feed(line + b"\n"))


def explain_missing_hello(channel: Channel, write_error: str = "", noise: str = "") -> AgentError:
    """Return the reason why the agent never answered, from what the node's login shell wrote."""
    stderr = channel.stderr().strip()
    for marker in ("harbor: no-python:", "harbor: python-too-old:"):
        if marker in stderr:
            return AgentError(stderr.split(marker, 1)[1].strip().splitlines()[0], True, PYTHON_HINT)
    if _WINDOWS.search(stderr):
        why = "it is a Windows machine, or another one without a Unix shell. Nodes run Linux or macOS"
        return AgentError(why, permanent=True, hint="take it out of the host list, or name the SSH server of its WSL")
    if stderr or not (noise or channel.exit_status() is not None):
        detail = _last_lines(stderr) or write_error
        return AgentError(f"the agent did not answer{': ' + detail if detail else ''}", hint="{login} echo works")
    return AgentError(f"the agent did not answer: the login shell {_what_shell_did(channel, noise)}", hint=SHELL_HINT)


def _what_shell_did(channel: Channel, noise: str) -> str:
    """Return what the login shell did instead of running harbor's command."""
    if len(noise) >= NOISE_MAX:
        return f"prints more than {NOISE_MAX >> 10} KiB, beginning with {noise[:SHOWN]!r}"
    printed = f", after it had printed {noise.splitlines()[0][:SHOWN]!r}" if noise else ""
    status = channel.exit_status()
    if status is None:
        return f"has not run harbor's command{printed}"
    return f"ended with exit code {status} before it ran harbor's command{printed}"


def fatal_error(message: Message) -> AgentError:
    """Return the error that the agent's `fatal` message describes."""
    code: Any = message.get("code")
    return AgentError(str(message.get("message") or code), code in PERMANENT_CODES, HINTS.get(str(code)))


def connection_closed(channel: Channel) -> str:
    """Return the reason for a connection that ended without a message, with the last lines of stderr."""
    detail = _last_lines(channel.stderr())
    return f"the connection was closed{': ' + detail if detail else ''}"


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])
