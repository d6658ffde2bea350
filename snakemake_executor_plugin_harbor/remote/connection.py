"""One connection to a node, from the dial to its end: it starts the agent there and turns its lines into events.

Two threads per connection: one connects and reads, one writes, so that a node that does not read never blocks
another one. A connection reports with `post` and decides nothing: the pool chooses when to connect again.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..core import events as ev
from ..core.model import NodeSpec
from ..core.protocol import Decoder, Message, encode, event_of, facts_of, printable, record_of
from .attempt_filter import AttemptFilter
from .bootstrap import command, payload
from .transport import Channel, ConnectError, Transport

NOISE_LIMIT = 64 * 1024
"""Bytes of login noise (motd, profile output) that are skipped before the agent's first line."""
READY_TIMEOUT_S = 60.0
SILENCE_S = 20.0
"""A connection without a line for this long is given up; the agent sends a load sample every second."""
KNOWN_MAX = 100_000
"""Records that a node may list; ten times what an agent keeps before it clears away what is forgotten."""
KNOWN_BYTES = 16 << 20
"""What it may say before it is ready."""
BYTES_PER_S = 8 << 20
LINE_BYTES = 1000
"""How fast a node may talk, each line counted as so many bytes more: several times what 300 short jobs a second
take. One that says more waits, and does not keep other nodes' messages from being taken."""
BURST_S = 0.5
UNSENT_MAX = 100_000
"""Messages that may wait for a node that does not read; then its connection is made anew."""
REASON_MAX = 2000
WRITE_BATCH = 256
CLOSE_S = 5.0
"""How long the end of a connection is waited for."""
LOGIN_PAUSE_S = 60.0
"""The pause after a refused login that has worked before: servers count refused logins, and lock accounts."""
REPAIR_PAUSE_S = 300.0
"""How often a node that was rejected is looked at again. The user may have repaired it."""
HOST_KEY_PAUSE_S = 30.0
"""The same where the host key was the reason: nobody has tried to log in by then."""

Hear = Callable[[str, Message], None]
Current = Callable[[], bool]
"""Whether the connection that an event came from is still the node's: an event that waited in a queue may be late."""
Post = Callable[[ev.Event, Current], None]


@dataclass
class Worked:
    """What has worked on the way to a node in this run. When it fails later, that passes."""

    login: bool = False
    agent: bool = False


@dataclass(frozen=True)
class End:
    """Why a connection has ended. `kind` is that of the ConnectError, or `agent` for what the agent said itself."""

    reason: str
    permanent: bool = False
    kind: str = "agent"


class Connection:
    """The controller's end of one connection. All methods may be called from any thread."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        post: Post,
        hear: Hear,
        worked: Worked,
    ) -> None:
        self._spec = spec
        self._make_transport = transport
        self._welcome = welcome
        self._report = post
        self._hear = hear
        self._worked = worked
        self._transport: Transport | None = None
        self._outbox: queue.SimpleQueue[list[Message] | None] | None = None
        self._channel: Channel | None = None
        self._given = AttemptFilter()
        self._queued = 0
        self._written = 0
        self._talked = 0.0
        self._heard = False
        self._quiet_since = 0.0
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._run, name=f"harbor-link-{spec.name}", daemon=True)
        self._writer: threading.Thread | None = None
        self._delay = 0.0
        self._before: Callable[[], object] | None = None

    def start(self, delay: float, before: Callable[[], object] | None = None) -> None:
        """Connect after `delay` seconds; `before` is called first, in the connection's own thread."""
        self._delay, self._before = delay, before
        self._reader.start()

    def current(self) -> bool:
        """False once it was closed from our side."""
        return not self._closing.is_set()

    def send(self, messages: Iterable[Message]) -> None:
        """Queue messages, in order. On a dead connection they are dropped: hello tells the truth later."""
        outbox, batch = self._outbox, list(messages)
        if outbox is None:
            return
        if self._queued - self._written > UNSENT_MAX:
            self.cut()
            return
        self._given.sent(batch)
        self._queued += len(batch)
        outbox.put(batch)

    def check(self, now: float) -> None:
        """Give up a connection that has been silent for too long (a partition drops packets, it says nothing)."""
        if self._heard or self._outbox is None:
            self._heard, self._quiet_since = False, now
        elif now - self._quiet_since > SILENCE_S:
            self._quiet_since = now
            self.cut()

    def cut(self) -> None:
        """End the connection without a word; NodeDown follows."""
        channel = self._channel
        if channel is not None:
            channel.close()

    def retire(self) -> None:
        """Nothing more is reported of it, and what still waits to be taken is not current any more. Never blocks."""
        self._closing.set()

    def close(self, timeout: float = CLOSE_S) -> None:
        """End the connection, after what is queued has been sent; jobs on the node live on."""
        deadline = time.monotonic() + timeout
        self._closing.set()
        outbox, channel, writer = self._outbox, self._channel, self._writer
        if outbox is not None:
            outbox.put([{"t": "bye"}])
            outbox.put(None)
        if writer is not None:
            writer.join(timeout)
            # The agent answers `bye` by closing its end: only then has it taken what came before.
            self._reader.join(max(0.0, deadline - time.monotonic()))
        if channel is not None:
            channel.close()
        transport = self._transport
        if transport is not None and self._reader.is_alive():
            transport.close()
        if self._reader.ident is not None:
            self._reader.join(max(0.1, deadline - time.monotonic()))

    # --- the reading thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        if self._before is not None:
            self._before()
        if self._closing.wait(self._delay):
            return
        end = End("")
        try:
            end = self._session()
        except ConnectError as error:
            hint = f"\n  Try: {error.hint}" if error.hint else ""
            end = End(f"{error.message}{hint}", error.permanent, error.kind)
        except OSError as error:
            end = End(f"the connection broke: {error}")
        except Exception as error:
            # A bug of ours must not leave the node's jobs waiting for ever.
            end = End(f"internal error: {type(error).__name__}: {error}")
        finally:
            outbox, self._outbox = self._outbox, None
            if outbox is not None:
                outbox.put(None)
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.close()
        self._post(self._down(end))

    def _down(self, end: End) -> ev.NodeDown:
        """What has worked in this run will work again: a laptop that wakes up has no name server yet."""
        name, reason = self._spec.name, printable(end.reason, REASON_MAX) or "the connection was closed"
        worked = self._worked.agent if end.kind == "agent" else self._worked.login
        if not end.permanent:
            return ev.NodeDown(name, reason)
        if end.kind == "auth":
            return ev.NodeDown(name, reason, pause=LOGIN_PAUSE_S) if worked else ev.NodeDown(name, reason, True)
        if worked:
            return ev.NodeDown(name, reason)
        pause = HOST_KEY_PAUSE_S if end.kind.startswith("host_key") else REPAIR_PAUSE_S
        return ev.NodeDown(name, reason, permanent=True, pause=pause)

    def _post(self, event: ev.Event) -> None:
        if self.current():
            self._report(event, self.current)

    def _session(self) -> End:
        transport = self._transport = self._make_transport(self._spec)
        try:
            channel = transport.open(command(self._spec.python, self._spec.setup), first=self._worked.login)
            self._worked.login = True
            self._channel = channel
            if self._closing.is_set():
                return End("")
            timer = threading.Timer(READY_TIMEOUT_S, channel.close)
            timer.daemon = True
            timer.start()
            try:
                broken = _stream(channel, payload(dict(self._welcome(self._spec))))
                decoder, hello, early = self._await_hello(channel)
                if hello is None:
                    return End(*explain_silence(channel, broken))
                if hello["t"] == "fatal":
                    return _fatal(hello)
                return self._converse(channel, decoder, hello, early, timer.cancel)
            finally:
                timer.cancel()
        finally:
            transport.close()

    def _await_hello(self, channel: Channel) -> tuple[Decoder, Message | None, list[Message]]:
        """Skip noise up to the agent's first line; returns it with what came behind it in the same read."""
        decoder = Decoder()
        noise = 0
        while data := channel.read():
            noise += len(data)
            messages = iter(list(decoder.feed(data)))
            for message in messages:
                if message["t"] in ("hello", "fatal"):
                    return decoder, message, list(messages)
            if noise > NOISE_LIMIT:
                break
        return decoder, None, []

    def _converse(
        self, channel: Channel, decoder: Decoder, hello: Message, early: list[Message], on_ready: Callable[[], None]
    ) -> End:
        known: list[ev.NodeRecord] = []
        ready, said = False, 0
        messages = early
        while True:
            self._heard = True
            for message in messages:
                if not ready and message["t"] == "known":
                    record = record_of(message)
                    if record is not None:
                        known.append(record)
                    if len(known) > KNOWN_MAX:
                        return End(f"it lists more than {KNOWN_MAX} jobs", permanent=True)
                elif not ready and message["t"] == "ready":
                    ready = self._worked.agent = True
                    on_ready()
                    self._given.listed(known)
                    self._begin_writing(channel)
                    self._post(ev.NodeUp(self._spec.name, facts_of(hello), tuple(known)))
                elif message["t"] == "fatal":
                    return _fatal(message)
                else:
                    self._take(message)
            data = channel.read()
            if not data:
                return End(_closed(channel))
            if self._closing.is_set():
                messages = []  # nobody listens any more, and the end of the connection is what is awaited
                continue
            messages = list(decoder.feed(data))
            if ready:
                self._pace(len(data) + LINE_BYTES * data.count(b"\n"))
            elif (said := said + len(data)) > KNOWN_BYTES:
                return End(f"it said more than {KNOWN_BYTES >> 20} MiB before it was ready", permanent=True)

    def _pace(self, size: int) -> None:
        """Wait until the node may have said as much as it has."""
        now = time.monotonic()
        self._talked = max(self._talked, now - BURST_S) + size / BYTES_PER_S
        self._closing.wait(max(0.0, self._talked - now))

    def _take(self, message: Message) -> None:
        event = event_of(self._spec.name, message)
        if event is None:
            self._hear(self._spec.name, message)
        elif (event := self._given.known(event)) is not None:
            self._post(event)

    # --- the writing thread -----------------------------------------------------------------------------

    def _begin_writing(self, channel: Channel) -> None:
        outbox: queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()
        self._queued, self._written, self._outbox = 0, 0, outbox
        name = f"harbor-write-{self._spec.name}"
        self._writer = threading.Thread(target=self._write, args=(channel, outbox), name=name, daemon=True)
        self._writer.start()

    def _write(self, channel: Channel, outbox: "queue.SimpleQueue[list[Message] | None]") -> None:
        while (batch := outbox.get()) is not None:
            try:
                while len(batch) < WRITE_BATCH and not outbox.empty():
                    more = outbox.get()
                    if more is None:
                        outbox.put(None)
                        break
                    batch = batch + more
                channel.write(b"".join(map(encode, batch)))
                self._written += len(batch)
            except OSError:
                channel.close()
                return


def _stream(channel: Channel, data: bytes) -> str:
    """Write the agent; what broke on the way, or "". The node's shell may have ended by then, and said why."""
    try:
        channel.write(data)
    except OSError as error:
        return str(error)
    return ""


def explain_silence(channel: Channel, broken: str = "") -> tuple[str, bool]:
    """Why the agent never answered, from what the node's shell wrote; and whether that is for good."""
    stderr = channel.stderr().strip()
    for marker in ("harbor: no-python:", "harbor: python-too-old:"):
        if marker in stderr:
            return stderr.split(marker, 1)[1].strip().splitlines()[0], True
    tail = " | ".join(stderr.splitlines()[-3:])
    return f"the agent did not answer{': ' + (tail or broken) if tail or broken else ''}", False


def _fatal(message: Message) -> End:
    code: Any = message.get("code")
    return End(str(message.get("message") or code), code in ("scratch", "protocol", "platform", "python"))


def _closed(channel: Channel) -> str:
    tail = " | ".join(channel.stderr().strip().splitlines()[-3:])
    return f"the connection was closed{': ' + tail if tail else ''}"
