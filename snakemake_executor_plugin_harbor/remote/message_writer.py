"""Writes the messages for one node in a thread of its own, so that a node that does not read delays no other node."""

import queue
import threading

from ..core.codec import Message, encode
from .transport import Channel

BATCH_MAX = 256
"""Queued messages are written together, up to this many at once."""


class MessageWriter:
    """Queues and writes the messages of one connection. Any thread may call the methods. Only join() blocks."""

    def __init__(self, channel: Channel, node: str) -> None:
        self._channel = channel
        self._outbox: queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()
        self._queued = 0
        self._written = 0
        self._finished = False
        self._thread = threading.Thread(target=self._run, name=f"harbor-write-{node}", daemon=True)
        self._thread.start()

    @property
    def finished(self) -> bool:
        """True after finish(). Later messages are dropped."""
        return self._finished

    @property
    def unwritten(self) -> int:
        """The number of queued messages that the channel has not accepted yet."""
        return self._queued - self._written

    def put(self, messages: list[Message]) -> None:
        """Queue messages. Their order is kept."""
        if not self._finished:
            self._queued += len(messages)
            self._outbox.put(messages)

    def finish(self) -> None:
        """End the thread after the queued messages have been written."""
        self._finished = True
        self._outbox.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while (batch := self._outbox.get()) is not None:
            try:
                while len(batch) < BATCH_MAX and not self._outbox.empty():
                    more = self._outbox.get()
                    if more is None:
                        self._outbox.put(None)
                        break
                    batch = batch + more
                self._channel.write(b"".join(map(encode, batch)))
                self._written += len(batch)
            except OSError:
                self._channel.close()
                return
