"""One node's connection: opens it, starts the agent, and turns lines into events.

Two threads a node: one connects and reads, one writes, so that a node that does not read never blocks anybody
else. A link reports with `post` and decides nothing: when to reconnect is the pool's choice.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..core import events as ev
from ..core.model import NodeSpec
from ..core.protocol import Decoder, Message, encode, event_of, facts_of, known_of, printable
from .bootstrap import command, payload
from .given import Given
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
JITTER_S = 1.0

Post = Callable[[ev.Event], None]
Hear = Callable[[str, Message], None]


class Link:
    """The controller's end of one node. All methods may be called from any thread; none blocks."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        post: Post,
        hear: Hear,
        gate: threading.Semaphore,
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._welcome = welcome
        self._post = post
        self._hear = hear
        self._gate = gate
        self._outbox: queue.SimpleQueue[list[Message] | None] | None = None
        self._channel: Channel | None = None
        self._given = Given()
        self._queued = 0
        self._written = 0
        self._talked = 0.0
        self._heard = False
        self._quiet_since = 0.0
        self._closing = threading.Event()
        self._tried = False
        self._met = False
        self._reader: threading.Thread | None = None
        self._writer: threading.Thread | None = None

    def connect(self) -> None:
        """Open the connection, after a moment of chance: many nodes that came back must not arrive together. The news
        is NodeUp or NodeDown.
        """
        delay = random.uniform(0.0, JITTER_S) if self._tried else 0.0
        self._tried = True
        name = f"harbor-link-{self.spec.name}"
        self._reader = threading.Thread(target=self._run, args=(delay,), name=name, daemon=True)
        self._reader.start()

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

    def close(self, timeout: float = 5.0) -> None:
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
            if self._reader is not None:
                self._reader.join(max(0.0, deadline - time.monotonic()))
        if channel is not None:
            channel.close()
        if self._reader is not None:
            self._reader.join(max(0.1, deadline - time.monotonic()))

    # --- the reading thread -----------------------------------------------------------------------------

    def _run(self, delay: float) -> None:
        if self._closing.wait(delay):
            return
        reason, permanent = "", False
        try:
            reason, permanent = self._session()
        except ConnectError as error:
            hint = f"\n  Try: {error.hint}" if error.hint else ""
            # A name that was good an hour ago is still good: a laptop that wakes up has no name server yet.
            permanent = error.permanent and not (error.kind == "name" and self._met)
            reason = f"{error.message}{hint}"
        except OSError as error:
            reason = f"the connection broke: {error}"
        except Exception as error:
            # A bug of ours must not leave the node's jobs waiting for ever.
            reason = f"internal error: {type(error).__name__}: {error}"
        finally:
            outbox, self._outbox = self._outbox, None
            if outbox is not None:
                outbox.put(None)
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.close()
        if not self._closing.is_set():
            reason = printable(reason, REASON_MAX) or "the connection was closed"
            self._post(ev.NodeDown(self.spec.name, reason, permanent))

    def _session(self) -> tuple[str, bool]:
        transport = self._transport(self.spec)
        try:
            with self._gate:
                if self._closing.is_set():
                    return "", False
                channel = transport.open(command(self.spec.python, self.spec.setup))
            self._channel = channel
            timer = threading.Timer(READY_TIMEOUT_S, channel.close)
            timer.daemon = True
            timer.start()
            try:
                broken = _stream(channel, payload(dict(self._welcome(self.spec))))
                decoder, hello, early = self._await_hello(channel)
                if hello is None:
                    return explain_silence(channel, broken)
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
    ) -> tuple[str, bool]:
        known: list[ev.Known] = []
        ready, said = False, 0
        messages = early
        while True:
            self._heard = True
            for message in messages:
                if not ready and message["t"] == "known":
                    record = known_of(message)
                    if record is not None:
                        known.append(record)
                    if len(known) > KNOWN_MAX:
                        return f"it lists more than {KNOWN_MAX} jobs", True
                elif not ready and message["t"] == "ready":
                    ready = self._met = True
                    on_ready()
                    self._given.listed(known)
                    self._begin_writing(channel)
                    self._post(ev.NodeUp(self.spec.name, facts_of(hello), tuple(known)))
                elif message["t"] == "fatal":
                    return _fatal(message)
                else:
                    self._take(message)
            data = channel.read()
            if not data:
                return _closed(channel), False
            if self._closing.is_set():
                messages = []  # nobody listens any more, and the end of the connection is what is awaited
                continue
            messages = list(decoder.feed(data))
            if ready:
                self._pace(len(data) + LINE_BYTES * data.count(b"\n"))
            elif (said := said + len(data)) > KNOWN_BYTES:
                return f"it said more than {KNOWN_BYTES >> 20} MiB before it was ready", True

    def _pace(self, size: int) -> None:
        """Wait until the node may have said as much as it has."""
        now = time.monotonic()
        self._talked = max(self._talked, now - BURST_S) + size / BYTES_PER_S
        self._closing.wait(max(0.0, self._talked - now))

    def _take(self, message: Message) -> None:
        event = event_of(self.spec.name, message)
        if event is None:
            self._hear(self.spec.name, message)
        elif (event := self._given.known(event)) is not None:
            self._post(event)

    # --- the writing thread -----------------------------------------------------------------------------

    def _begin_writing(self, channel: Channel) -> None:
        outbox: queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()
        self._queued, self._written, self._outbox = 0, 0, outbox
        name = f"harbor-write-{self.spec.name}"
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


def _fatal(message: Message) -> tuple[str, bool]:
    code: Any = message.get("code")
    return str(message.get("message") or code), code in ("scratch", "protocol", "platform", "python")


def _closed(channel: Channel) -> str:
    tail = " | ".join(channel.stderr().strip().splitlines()[-3:])
    return f"the connection was closed{': ' + tail if tail else ''}"
