"""The way to one node: one connection at a time, and the memory of what has worked on that way in this run."""

import random
from collections.abc import Callable, Iterable

from ..core.codec import Message
from ..core.model import NodeSpec
from .connection import CLOSE_S, SILENCE_S, Connection, Hear, Post, Worked
from .transport import Transport

__all__ = ["JITTER_S", "SILENCE_S", "Link"]

JITTER_S = 0.5


class Link:
    """All methods may be called from any thread; none but `close` blocks."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        post: Post,
        hear: Hear,
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._welcome = welcome
        self._post = post
        self._hear = hear
        self._worked = Worked()
        self._connection: Connection | None = None

    def connect(self, before: Callable[[], object] | None = None) -> None:
        """Open a connection, after a random pause if it is not the first one: many nodes that came back must not
        arrive together. NodeUp or NodeDown is reported. A connection that still lives is closed first, and so is
        whatever `before` ends: a node never has two agents of ours.
        """
        old = self._connection
        if old is not None:
            old.retire()
            before = old.close
        delay = random.uniform(0.0, JITTER_S) if old is not None else 0.0
        new = Connection(self.spec, self._transport, self._welcome, self._post, self._hear, self._worked)
        self._connection = new
        new.start(delay, before)

    def send(self, messages: Iterable[Message]) -> None:
        """Queue messages, in order. On a dead connection they are dropped: hello tells the truth later."""
        if self._connection is not None:
            self._connection.send(messages)

    def check(self, now: float) -> None:
        """Give up a connection that has been silent for too long."""
        if self._connection is not None:
            self._connection.check(now)

    def cut(self) -> None:
        """End the connection without a word; NodeDown follows."""
        if self._connection is not None:
            self._connection.cut()

    def retire(self) -> None:
        """Nothing more is reported of the connection."""
        if self._connection is not None:
            self._connection.retire()

    def close(self, timeout: float = CLOSE_S) -> None:
        """End the connection, after what is queued has been sent; jobs on the node live on."""
        if self._connection is not None:
            self._connection.close(timeout)
