"""All connections of a pool, by node: opened, cut, closed and written to by name."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from ..core.model import NodeSpec
from ..core.node_table import same_connection
from ..core.protocol import Message
from .link import Link

CLOSE_S = 10.0
"""How long the ends of all connections are waited for together."""


class Links:
    """The dispatcher's connections. None of the methods but `close` blocks."""

    def __init__(self, make: Callable[[NodeSpec], Link]) -> None:
        self._make = make
        self._links: dict[str, Link] = {}
        self._closers: dict[str, threading.Thread] = {}

    def connect(self, spec: NodeSpec) -> None:
        """Open the node's connection; the news comes as an event. The one before it is closed first."""
        known = self._links.get(spec.name)
        if known is not None and not same_connection(known.spec, spec):
            self.disconnect(spec.name)
            known = None
        if known is None:
            known = self._links[spec.name] = self._make(spec)
        known.spec = spec
        closer = self._closers.pop(spec.name, None)
        known.connect(closer.join if closer is not None else None)

    def disconnect(self, name: str) -> None:
        """Close the connection of a node that has left the pool."""
        link = self._links.pop(name, None)
        if link is not None:
            self._close(name, link)

    def reject(self, name: str) -> None:
        """Close the connection of a node that cannot be used. It may be tried again: what has worked is remembered."""
        if name in self._links:
            self._close(name, self._links[name])

    def cut(self, name: str) -> None:
        """End a connection that is of no more use; the link says so, and the pool has it made anew."""
        if name in self._links:
            self._links[name].cut()

    def send(self, messages: Mapping[str, Iterable[Message]]) -> None:
        """Queue messages by node. For a node without a connection they are dropped: hello tells the truth later."""
        for name, batch in messages.items():
            if name in self._links:
                self._links[name].send(batch)

    def check(self, now: float) -> None:
        """Give up connections that have been silent for too long. `now`: a clock that stands still while we do."""
        for link in self._links.values():
            link.check(now)

    def close(self) -> None:
        """End all connections, side by side; what is queued is sent before."""
        for name in list(self._links):
            self.disconnect(name)
        deadline = time.monotonic() + CLOSE_S
        for closer in self._closers.values():
            closer.join(max(0.0, deadline - time.monotonic()))

    def _close(self, name: str, link: Link) -> None:
        link.retire()
        before = self._closers.get(name)

        def end() -> None:
            if before is not None:
                before.join()
            link.close()

        closer = threading.Thread(target=end, name=f"harbor-close-{name}", daemon=True)
        closer.start()
        self._closers = {known: thread for known, thread in self._closers.items() if thread.is_alive()}
        self._closers[name] = closer
