"""Keeps the links to all nodes of a pool, by the node's name."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from ..core.codec import Message
from ..core.model import NodeSpec
from ..core.node_table import same_connection
from .link import Link

CLOSE_S = 10.0
"""close() waits at most this many seconds for all connections together."""


class Links:
    """Keeps one link per node. One thread at a time may call the methods. Only close() blocks."""

    def __init__(self, make_link: Callable[[NodeSpec], Link]) -> None:
        self._make_link = make_link
        self._links: dict[str, Link] = {}
        self._closers: dict[str, threading.Thread] = {}

    def connect(self, spec: NodeSpec) -> None:
        """Open a connection to the node, after its earlier connection was closed. NodeUp or NodeDown is reported."""
        link = self._links.get(spec.name)
        if link is not None and not same_connection(link.spec, spec):
            self.disconnect(spec.name)
            link = None
        if link is None:
            link = self._links[spec.name] = self._make_link(spec)
        link.spec = spec
        closer = self._closers.pop(spec.name, None)
        link.connect(closer.join if closer is not None else None)

    def disconnect(self, name: str) -> None:
        """Close the connection of a node that has left the pool, and remove its link."""
        link = self._links.pop(name, None)
        if link is not None:
            self._close_in_background(name, link)

    def reject(self, name: str) -> None:
        """Close the connection of a node that is not usable.

        The link stays, because the node may be tried again, and the link remembers what worked before.
        """
        if name in self._links:
            self._close_in_background(name, self._links[name])

    def abort(self, name: str) -> None:
        """End a connection that is no longer useful. The link reports NodeDown, and the pool reconnects."""
        if name in self._links:
            self._links[name].abort()

    def send(self, messages: Mapping[str, Iterable[Message]]) -> None:
        """Queue messages by node. Messages to a node without a connection are dropped.

        The records that the node lists after the next hello show which messages arrived.
        """
        for name, batch in messages.items():
            if name in self._links:
                self._links[name].send(batch)

    def check_silence(self, now: float) -> None:
        """Abort connections that have been silent for too long. The clock of `now` must stand still during suspend."""
        for link in self._links.values():
            link.check_silence(now)

    def close(self) -> None:
        """Send the queued messages and end all connections in parallel."""
        for name in list(self._links):
            self.disconnect(name)
        deadline = time.monotonic() + CLOSE_S
        for closer in self._closers.values():
            closer.join(max(0.0, deadline - time.monotonic()))

    def _close_in_background(self, name: str, link: Link) -> None:
        link.stop_reporting()
        earlier = self._closers.get(name)

        def close() -> None:
            if earlier is not None:
                earlier.join()
            link.close()

        closer = threading.Thread(target=close, name=f"harbor-close-{name}", daemon=True)
        closer.start()
        self._closers = {other: thread for other, thread in self._closers.items() if thread.is_alive()}
        self._closers[name] = closer
