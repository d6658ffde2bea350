"""Limits how many connections of this process may log in at the same time.

sshd drops connections at random if 10 or more are not authenticated yet (MaxStartups 10:30:100), so each server has a
limit. All handshakes together have another one, because 256 of them at once exceed their timeouts on two cores.
A peer that does not answer must not delay the others, so a connection counts only for a limited time.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

PLACES = 7
RESERVED_PLACES = 2
"""These places are for hosts that are known to work, so that they need not wait for those that do not answer."""
STALLED_S = 2.0
"""A dial or handshake takes a fraction of a second. After this time it waits for its peer and needs no CPU."""
BEHIND_JUMP_S = 3.0
"""This is the time for the ssh program behind a jump host. After it, the jump host has logged the program in."""
LOGIN_S = 30.0
"""A connection that is not logged in after this time no longer counts in the limit of its server."""


class ConcurrencyLimit:
    """Works like a semaphore whose places expire. It has additional places for those that go first."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._changed = threading.Condition()
        self._expiry: dict[int, float] = {}
        self._waiting: set[tuple[bool, int]] = set()
        self._numbers = count()

    @contextmanager
    def hold(self, seconds: float, first: bool = False) -> Iterator[Callable[[float], None]]:
        """Wait for a place, then hold it until the end of the block, but at most for `seconds`.

        `first`: go before others that wait. The context manager returns a function `hold_for(seconds)`, which sets a
        new limit that is counted from its call.
        """
        number = next(self._numbers)
        me = (not first, number)

        def hold_for(seconds: float) -> None:
            with self._changed:
                if number in self._expiry:
                    self._expiry[number] = time.monotonic() + seconds

        with self._changed:
            self._waiting.add(me)
            while not self._has_place(first) or me != min(self._waiting):
                soonest = min(self._expiry.values(), default=0.0)
                self._changed.wait(max(0.01, soonest - time.monotonic()) if soonest else 1.0)
            self._waiting.discard(me)
            self._expiry[number] = time.monotonic() + seconds
            self._changed.notify_all()
        try:
            yield hold_for
        finally:
            with self._changed:
                self._expiry.pop(number, None)
                self._changed.notify_all()

    def _has_place(self, first: bool) -> bool:
        now = time.monotonic()
        self._expiry = {number: until for number, until in self._expiry.items() if until > now}
        return len(self._expiry) < self._places + (RESERVED_PLACES if first else 0)


handshakes = ConcurrencyLimit()
"""This limits paramiko's handshakes and logins in this process."""
ssh_programs = ConcurrencyLimit(16)
"""This limits starts of the ssh program, which connects and logs in by itself."""
_servers: dict[tuple[str, int], ConcurrencyLimit] = {}
_lock = threading.Lock()


def server_limit(host: str, port: int) -> ConcurrencyLimit:
    """Return the limit of one SSH server."""
    with _lock:
        return _servers.setdefault((host, port), ConcurrencyLimit())
