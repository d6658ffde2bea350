"""The controller's end of the stream to a mover: lines of JSON, and contents of files. `agent/frames.py` is the other
end.
"""

import json
import struct
import time
from collections.abc import Iterator
from io import FileIO
from typing import Any

from ..remote.transport import Channel

PIECE = 63 << 12
"""The largest piece of a content. With its length it fills eight packets of SSH (paramiko sends 32,704 bytes in each).
Pieces that contain only zeros become holes, so it is a multiple of 4 KiB.
"""
LINE_MAX = 1 << 20
BUFFERED = 1 << 16
"""Small writes are gathered until they have this many bytes, because each write is a packet of its own."""


class Stream:
    """Reads and writes one channel. Raises OSError when the connection is gone or the node breaks the protocol."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._received = b""
        self._at = 0  # what was received has been read up to here
        self._unsent = bytearray()
        self.moved_at = 0.0
        """When bytes last came or went, by the monotonic clock."""
        self.contents = 0
        """The bytes of contents that came or went."""

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        parts, left = [self._received[self._at : self._at + size]], size
        while (left := left - len(parts[-1])) > 0:
            self._received, self._at = self._more(), 0
            parts.append(self._received[:left])
        self._at += len(parts[-1])
        return b"".join(parts)

    def line(self) -> Any:
        """Return the value of the next line."""
        while (end := self._received.find(b"\n", self._at)) < 0:
            if len(self._received) - self._at > LINE_MAX:
                raise ConnectionError("the node has sent a line that is too long")
            self._received, self._at = self._received[self._at :] + self._more(), 0
        line, self._at = self._received[self._at : end], end + 1
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

    def send_pieces(self, f: FileIO, size: int) -> int:
        """Send `size` bytes of a file, or as many as can be read. Returns their number."""
        left, buffer = size, memoryview(bytearray(4 + min(PIECE, size)))
        while left > 0 and (length := _read_into(f, buffer[4 : 4 + left])):
            struct.pack_into(">I", buffer, 0, length)
            self._send(buffer[: 4 + length])
            self.contents += length
            left -= length
        return size - left

    def end_content(self) -> None:
        self._send(bytes(4))

    def flush(self) -> None:
        if self._unsent:
            data, self._unsent = self._unsent, bytearray()
            self._write(data)

    def _send(self, data: bytes | memoryview) -> None:
        if len(data) < BUFFERED:
            self._unsent += data
            if len(self._unsent) >= BUFFERED:
                self.flush()
        else:
            self.flush()
            self._write(data)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._channel.write(data)
        except OSError as error:
            raise ConnectionError(str(error)) from error
        self.moved_at = time.monotonic()

    def _more(self) -> bytes:
        data = self._channel.read()
        if not data:
            raise ConnectionError("the connection to the mover was closed")
        self.moved_at = time.monotonic()
        return data


def _read_into(f: FileIO, buffer: memoryview) -> int:
    """Return the number of bytes that were read. It is 0 at the end, and when the file cannot be read any more."""
    try:
        return f.readinto(buffer)
    except OSError:
        return 0
