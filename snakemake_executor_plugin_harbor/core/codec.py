"""The encoding of messages between controller and agent. Each message is a JSON object in a line of its own."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Message = Mapping[str, Any]

MAX_LINE = 1 << 20
"""The longest line in bytes, also for the agent. A `start` message with a long script is the longest message."""


def encode(message: Message) -> bytes:
    """Return the message as one line. Text that is not valid Unicode (a file name) is kept as escaped surrogates."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


class Decoder:
    """Reassembles lines from chunks of bytes. A line that is too long or no JSON object is dropped and counted."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False
        self.dropped = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Return the messages that this chunk completes."""
        *lines, begun = data.split(b"\n")
        for line in lines:
            self._keep(line)
            message = None if self._skipping else _parse(b"".join(self._parts))
            self._parts, self._size, self._skipping = [], 0, False
            if message is None:
                self.dropped += 1
            else:
                yield message
        self._keep(begun)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._skipping = True
            self._parts = []
        elif piece:
            self._parts.append(piece)


def _parse(line: bytes) -> Message | None:
    if not line.startswith(b"{"):
        return None
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(message, dict) and isinstance(message.get("t"), str):
        return message
    return None
