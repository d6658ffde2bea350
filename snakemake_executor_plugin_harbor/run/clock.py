"""A clock that counts the seconds in which this process was awake. Time limits are counted with it."""

import time
from collections.abc import Callable

LONGEST_S = 5.0
"""The dispatcher reads the clock at least once per second. A longer gap is a suspend (a closed laptop, SIGSTOP)."""


class AwakeClock:
    """Stands still while this process is suspended, and does not depend on the wall clock, which somebody may set.

    So after a night's suspend no node counts as unreachable for eight hours. The links reconnect first, and
    `--harbor-lost-after` counts from then on.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._last = source()
        self._awake = 0.0

    def now(self) -> float:
        """The seconds since the start. A gap between two calls counts as at most LONGEST_S."""
        last, self._last = self._last, self._source()
        self._awake += min(self._last - last, LONGEST_S)
        return self._awake
