"""How many connections of this process may be on their way to a login at the same time.

sshd drops connections at random from 10 unauthenticated ones on (MaxStartups 10:30:100), so each server has a gate. All
handshakes together have another one, because 256 of them at once would exceed their timeouts on two cores.
A peer that stalls does not hold up the others: after some time its connection is not counted any more.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

AT_ONCE = 7
RESERVED = 2
"""Further places, for hosts that are known to be good: they do not wait for those that stall."""
STALLED_S = 2.0
"""A dial or a handshake takes a fraction of a second. One that takes longer waits for its peer, and needs no CPU."""
BEHIND_JUMP_S = 3.0
"""The same for the ssh program behind a jump host, where the dial is no longer the jump host's business."""
LOGIN_S = 30.0
"""A connection that is not logged in after this time does not count any more at the gate of its server."""


class Gate:
    """Lets `width` callers in at once, and some more that go first. Who stays longer than its limit does not count."""

    def __init__(self, width: int = AT_ONCE) -> None:
        self._width = width
        self._changed = threading.Condition()
        self._inside: dict[int, float] = {}
        self._waiting: set[tuple[bool, int]] = set()
        self._numbers = count()

    @contextmanager
    def hold(self, limit: float, first: bool = False) -> Iterator[Callable[[float], None]]:
        """Wait for a place and keep it for the block, at most for `limit` seconds; `first`: before others that wait.

        Yields a function that sets a new limit, counted from its call.
        """
        number = next(self._numbers)
        me = (not first, number)

        def keep(limit: float) -> None:
            with self._changed:
                if number in self._inside:
                    self._inside[number] = time.monotonic() + limit

        with self._changed:
            self._waiting.add(me)
            while not self._free(first) or me != min(self._waiting):
                soonest = min(self._inside.values(), default=0.0)
                self._changed.wait(max(0.01, soonest - time.monotonic()) if soonest else 1.0)
            self._waiting.discard(me)
            self._inside[number] = time.monotonic() + limit
            self._changed.notify_all()
        try:
            yield keep
        finally:
            with self._changed:
                self._inside.pop(number, None)
                self._changed.notify_all()

    def _free(self, first: bool) -> bool:
        now = time.monotonic()
        self._inside = {number: until for number, until in self._inside.items() if until > now}
        return len(self._inside) < self._width + (RESERVED if first else 0)


handshakes = Gate()
programs = Gate(16)
"""Starts of the ssh program, which dials and logs in by itself."""
_servers: dict[tuple[str, int], Gate] = {}
_lock = threading.Lock()


def of_server(host: str, port: int) -> Gate:
    """The gate of one SSH server."""
    with _lock:
        return _servers.setdefault((host, port), Gate())
