"""Starts the agent at the other end of a channel and waits until it is ready.

The agent answers with one `hello`, then a `known` message per job record in its spool, then `ready`.
"""

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


class AgentError(Exception):
    """The agent did not start, or it gave up. `permanent`: a retry alone does not help."""

    def __init__(self, reason: str, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


@dataclass(frozen=True)
class AgentReady:
    """Holds the agent's answer. `rest` are the messages that came in the same read after `ready`."""

    hello: Message
    records: tuple[ev.NodeRecord, ...]
    rest: list[Message]


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
    write_error = _write(channel, bootstrap_input(welcome))
    messages = _from_hello_on(read, decoder)
    hello = next(messages, None)
    if hello is None:
        raise explain_missing_hello(channel, write_error)
    if hello["t"] == "fatal":
        raise fatal_error(hello)
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
                return AgentReady(hello, tuple(records), list(messages))
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


def _write(channel: Channel, data: bytes) -> str:
    """Write `data` and return the text of the error, or "".

    An error is not raised here, because the node's shell may have ended and its stderr then says why.
    """
    try:
        channel.write(data)
    except OSError as error:
        return str(error)
    return ""


def _from_hello_on(read: Callable[[], bytes], decoder: Decoder) -> Iterator[Message]:
    """Skip login noise. Return the agent's first message and those that came in the same read after it."""
    size = 0
    while data := read():
        size += len(data)
        messages = list(decoder.feed(data))
        for index, message in enumerate(messages):
            if message["t"] in ("hello", "fatal"):
                return iter(messages[index:])
        if size > NOISE_MAX:
            break
    return iter(())


def explain_missing_hello(channel: Channel, write_error: str = "") -> AgentError:
    """Return the reason why the agent never answered, from what the node's shell wrote to stderr."""
    stderr = channel.stderr().strip()
    for marker in ("harbor: no-python:", "harbor: python-too-old:"):
        if marker in stderr:
            return AgentError(stderr.split(marker, 1)[1].strip().splitlines()[0], permanent=True)
    detail = _last_lines(stderr) or write_error
    return AgentError(f"the agent did not answer{': ' + detail if detail else ''}")


def fatal_error(message: Message) -> AgentError:
    """Return the error that the agent's `fatal` message describes."""
    code: Any = message.get("code")
    return AgentError(str(message.get("message") or code), code in PERMANENT_CODES)


def connection_closed(channel: Channel) -> str:
    """Return the reason for a connection that ended without a message, with the last lines of stderr."""
    detail = _last_lines(channel.stderr())
    return f"the connection was closed{': ' + detail if detail else ''}"


def _last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-3:])
