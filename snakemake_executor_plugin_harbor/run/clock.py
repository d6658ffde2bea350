"""Seconds that this process was awake: the time that limits are counted in."""

import time
from collections.abc import Callable

LONGEST_S = 5.0
"""The dispatcher looks at least once a second; a longer gap is sleep (a closed laptop, SIGSTOP)."""


class AwakeClock:
    """Stands still while this process does, and knows nothing of the wall clock that somebody may set.

    After a night's sleep no node has been unreachable for eight hours: first it is asked, then `lost-after` runs.
    """

    def __init__(self, source: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._last = source()
        self._awake = 0.0

    def now(self) -> float:
        """Seconds since the start; a gap between two calls counts for at most `LONGEST_S`."""
        last, self._last = self._last, self._source()
        self._awake += min(self._last - last, LONGEST_S)
        return self._awake
