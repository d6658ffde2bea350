"""The controller's end of the stream to a mover: lines of JSON, and contents of files. `agent/frames.py` is the other
end.
"""

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

from ..remote.transport import Channel

PIECE = 1 << 18
LINE_MAX = 1 << 20
BUFFERED = 1 << 16
"""Small writes are gathered until they have this many bytes, because each write is a packet of its own."""


class Stream:
    """Reads and writes one channel. Raises OSError when the connection is gone or the node breaks the protocol."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._received = b""
        self._unsent = bytearray()
        self.moved_at = 0.0
        """When bytes last came or went, by the monotonic clock."""
        self.contents = 0
        """The bytes of contents that came or went."""

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        parts, left = [self._received[:size]], size - len(self._received)
        self._received = self._received[size:]
        while left > 0:
            data = self._more()
            parts.append(data[:left])
            self._received = data[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def line(self) -> Any:
        """Return the value of the next line."""
        while b"\n" not in self._received:
            if len(self._received) > LINE_MAX:
                raise ConnectionError("the node has sent a line that is too long")
            self._received += self._more()
        line, _, self._received = self._received.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError as error:
            raise ConnectionError(f"the node has sent what is no JSON: {error}") from error

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces of a content."""
        while size := struct.unpack(">I", self.read(4))[0]:
            if size > PIECE:
                raise ConnectionError("the node has sent a piece that is too long")
            self.contents += size
            yield self.read(size)

    def send_line(self, value: Any) -> None:
        self._send(json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n")

    def send_piece(self, data: bytes) -> None:
        """Send a piece. An empty one ends the content."""
        self._send(struct.pack(">I", len(data)) + data)
        self.contents += len(data)

    def flush(self) -> None:
        if self._unsent:
            data, self._unsent = bytes(self._unsent), bytearray()
            try:
                self._channel.write(data)
            except OSError as error:
                raise ConnectionError(str(error)) from error
            self.moved_at = time.monotonic()

    def _send(self, data: bytes) -> None:
        self._unsent += data
        if len(self._unsent) >= BUFFERED:
            self.flush()

    def _more(self) -> bytes:
        data = self._channel.read()
        if not data:
            raise ConnectionError("the connection to the mover was closed")
        self.moved_at = time.monotonic()
        return data
