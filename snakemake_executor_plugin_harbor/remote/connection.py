"""Runs one connection to a node. It starts the agent there and turns the agent's messages into events.

A connection has two threads. One connects and reads, the other one writes, so that a node that does not read never
blocks another node. A connection only reports events; the pool decides when to connect again.
"""

import threading
import time
from collections.abc import Callable, Iterable

from ..core import events as ev
from ..core.codec import Decoder, Message
from ..core.model import NodeSpec
from ..core.protocol import event_of, facts_of
from .attempt_filter import AttemptFilter
from .bootstrap import bootstrap_command
from .connection_end import ConnectionEnd, WorkedBefore
from .handshake import AgentError, connection_closed, fatal_error, start_agent
from .message_writer import MessageWriter
from .receive_rate import ReceiveRate
from .transport import Channel, ConnectError, Transport

READY_TIMEOUT_S = 60.0
"""The agent must be ready this many seconds after the login."""
SILENCE_S = 20.0
"""A connection that receives nothing for this long is closed. The agent sends a load sample every second."""
UNSENT_MAX = 100_000
"""If more messages than this wait for a node that does not read, its connection is closed."""
CLOSE_S = 5.0
"""close() waits at most this many seconds."""

OnOtherMessage = Callable[[str, Message], None]
"""It is called with the node's name and a message that is not an event."""
IsCurrent = Callable[[], bool]
"""It returns True while the connection of an event is in use. The event may wait in a queue longer than that."""
Post = Callable[[ev.Event, IsCurrent], None]


class Connection:
    """This is the controller's end of one connection. All public methods may be called from any thread."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        post: Post,
        on_other_message: OnOtherMessage,
        worked: WorkedBefore,
    ) -> None:
        self._spec = spec
        self._make_transport = transport
        self._welcome = welcome
        self._report = post
        self._on_other_message = on_other_message
        self._worked = worked
        self._transport: Transport | None = None
        self._channel: Channel | None = None
        self._writer: MessageWriter | None = None
        self._filter = AttemptFilter()
        self._received = False
        self._silent_since = 0.0
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._run, name=f"harbor-link-{spec.name}", daemon=True)
        self._delay = 0.0
        self._before: Callable[[], object] | None = None

    def start(self, delay: float, before: Callable[[], object] | None = None) -> None:
        """Call `before` and then, after `delay` seconds, connect. Both happen in the connection's own thread."""
        self._delay, self._before = delay, before
        self._reader.start()

    def is_current(self) -> bool:
        """Return False after the connection was closed from our side."""
        return not self._closing.is_set()

    def send(self, messages: Iterable[Message]) -> None:
        """Queue messages. Their order is kept.

        If the connection is not open, they are dropped. The records that the node lists after the next hello show
        which messages arrived.
        """
        writer, batch = self._writer, list(messages)
        if writer is None or writer.finished:
            return
        if writer.unwritten > UNSENT_MAX:
            self.abort()
            return
        self._filter.messages_sent(batch)
        writer.put(batch)

    def check_silence(self, now: float) -> None:
        """Abort a connection that received nothing for SILENCE_S. A network partition drops packets silently."""
        if self._received or self._writer is None or self._writer.finished:
            self._received, self._silent_since = False, now
        elif now - self._silent_since > SILENCE_S:
            self._silent_since = now
            self.abort()

    def abort(self) -> None:
        """End the connection immediately. NodeDown follows."""
        channel = self._channel
        if channel is not None:
            channel.close()

    def stop_reporting(self) -> None:
        """Report no more events. Events that are already queued are no longer current. Never blocks."""
        self._closing.set()

    def close(self, timeout: float = CLOSE_S) -> None:
        """Send the queued messages, then end the connection. Jobs on the node go on."""
        deadline = time.monotonic() + timeout
        self._closing.set()
        writer, channel = self._writer, self._channel
        if writer is not None:
            if not writer.finished:
                writer.put([{"t": "bye"}])
                writer.finish()
            writer.join(timeout)
            # The agent answers `bye` by closing its end. Only then is it sure to have handled the earlier messages.
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
        end = ConnectionEnd("")
        try:
            self._connect()
        except AgentError as error:
            login = self._transport.login if self._transport is not None else ""
            hint = f"\n  Try: {error.hint.replace('{login}', login).strip()}" if error.hint else ""
            end = ConnectionEnd(f"{error.reason}{hint}", error.permanent)
        except ConnectError as error:
            hint = f"\n  Try: {error.hint}" if error.hint else ""
            end = ConnectionEnd(f"{error.message}{hint}", error.permanent, error.kind)
        except OSError as error:
            end = ConnectionEnd(f"the connection broke: {error}")
        except Exception as error:
            # This is a bug of harbor. It must not leave the node's jobs waiting for ever.
            end = ConnectionEnd(f"internal error: {type(error).__name__}: {error}")
        finally:
            if self._writer is not None:
                self._writer.finish()
            channel, self._channel = self._channel, None
            if channel is not None:
                channel.close()
        self._post(end.node_down(self._spec.name, self._worked))

    def _post(self, event: ev.Event) -> None:
        if self.is_current():
            self._report(event, self.is_current)

    def _connect(self) -> None:
        """Open the connection and serve it. Returns if it was closed from our side, else raises an error."""
        transport = self._transport = self._make_transport(self._spec)
        try:
            channel = transport.open(bootstrap_command(self._spec.python, self._spec.setup), first=self._worked.login)
            self._worked.login = True
            self._channel = channel
            if not self._closing.is_set():
                self._serve(channel)
        finally:
            transport.close()

    def _serve(self, channel: Channel) -> None:
        """Start the agent and handle its messages until the connection ends, which raises AgentError."""
        decoder = Decoder()
        timer = threading.Timer(READY_TIMEOUT_S, channel.close)
        timer.daemon = True
        timer.start()
        try:
            welcome = dict(self._welcome(self._spec))
            ready = start_agent(channel, welcome, lambda: self._read(channel), decoder, self._handle)
        finally:
            timer.cancel()
        self._worked.agent = True
        self._filter.node_listed(ready.records)
        self._received = True
        self._writer = MessageWriter(channel, self._spec.name)
        self._post(ev.NodeUp(self._spec.name, facts_of(ready.hello, ready.noise), ready.records))
        messages, rate = ready.rest, ReceiveRate()
        while True:
            for message in messages:
                if message["t"] == "fatal":
                    raise fatal_error(message)
                self._handle(message)
            data = self._read(channel)
            if not data:
                raise AgentError(connection_closed(channel))
            messages = list(decoder.feed(data))
            self._closing.wait(rate.delay(data, time.monotonic()))

    def _read(self, channel: Channel) -> bytes:
        """Return the next bytes, or b"" at the end. While the connection is closing, all bytes are discarded."""
        while data := channel.read():
            self._received = True
            if not self._closing.is_set():
                return data
        return b""

    def _handle(self, message: Message) -> None:
        event = event_of(self._spec.name, message)
        if event is None:
            self._on_other_message(self._spec.name, message)
        elif (event := self._filter.allowed_part(event)) is not None:
            self._post(event)
