"""Keeps the link to one node: one connection at a time, and the steps that worked in this run."""

import random
from collections.abc import Callable, Iterable

from ..core.codec import Message
from ..core.model import NodeSpec
from .connection import CLOSE_S, SILENCE_S, Connection, OnOtherMessage, Post
from .connection_end import WorkedBefore
from .transport import Transport

__all__ = ["JITTER_S", "SILENCE_S", "Link"]

JITTER_S = 0.5
"""A reconnect waits for a random time up to this, so that many nodes that came back do not connect together."""


class Link:
    """Connects to one node, again and again. All methods may be called from any thread. Only close() blocks."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        post: Post,
        on_other_message: OnOtherMessage,
    ) -> None:
        self.spec = spec
        self._transport = transport
        self._welcome = welcome
        self._post = post
        self._on_other_message = on_other_message
        self._worked = WorkedBefore()
        self._connection: Connection | None = None

    @property
    def logged_in(self) -> bool:
        """Return True if a login has succeeded."""
        return self._worked.login

    def connect(self, before: Callable[[], object] | None = None) -> None:
        """Open a new connection. NodeUp or NodeDown is reported.

        The earlier connection is closed first, and `before` is called if there is none. So a node never has two agents
        of this run.
        """
        old = self._connection
        if old is not None:
            old.stop_reporting()
            before = old.close
        delay = random.uniform(0.0, JITTER_S) if old is not None else 0.0
        new = Connection(self.spec, self._transport, self._welcome, self._post, self._on_other_message, self._worked)
        self._connection = new
        new.start(delay, before)

    def send(self, messages: Iterable[Message]) -> None:
        """Queue messages. Their order is kept. If the connection is not open, they are dropped."""
        if self._connection is not None:
            self._connection.send(messages)

    def check_silence(self, now: float) -> None:
        """Abort a connection that has received nothing for SILENCE_S."""
        if self._connection is not None:
            self._connection.check_silence(now)

    def abort(self) -> None:
        """End the connection immediately. NodeDown follows."""
        if self._connection is not None:
            self._connection.abort()

    def stop_reporting(self) -> None:
        """Report no more events of the connection."""
        if self._connection is not None:
            self._connection.stop_reporting()

    def close(self, timeout: float = CLOSE_S) -> None:
        """Send the queued messages, then end the connection. Jobs on the node go on."""
        if self._connection is not None:
            self._connection.close(timeout)
