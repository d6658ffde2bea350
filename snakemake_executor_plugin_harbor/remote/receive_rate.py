"""Limits the rate at which messages of one node are accepted."""

BYTES_PER_S = 8 << 20
LINE_BYTES = 1000
"""Each line counts as this many bytes more. So the rate allows several times the messages of 300 short jobs per second.
A node that sends more has to wait, and the messages of other nodes are still accepted in time."""
BURST_S = 0.5
"""A node that was silent may send as much at once as the rate allows in this time."""


class ReceiveRate:
    """Limits the rate of one connection."""

    def __init__(self) -> None:
        self._used_until = 0.0

    def delay(self, data: bytes, now: float) -> float:
        """Return the seconds to wait after `data` was received at the time `now`."""
        size = len(data) + LINE_BYTES * data.count(b"\n")
        self._used_until = max(self._used_until, now - BURST_S) + size / BYTES_PER_S
        return max(0.0, self._used_until - now)
