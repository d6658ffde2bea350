"""The stream between the mover and the controller: lines of JSON, and contents of files.

A content is a sequence of pieces, each with its length in four bytes before it. A piece of length 0 ends the content.
"""

import json
import os
import signal
import struct

PIECE = 63 << 12
LINE_MAX = 1 << 20
# Seconds: the mover ends when nothing has moved for so long, because the controller is gone or needs it no more.
PATIENCE = 60


class Stream:
    """Reads from one file descriptor and writes to another one. EOFError is raised when the controller is gone."""

    def __init__(self, inp, out):
        self.inp = os.fdopen(inp, "rb", PIECE)
        self.out = os.fdopen(out, "wb", PIECE)

    def read(self, size):
        """Return exactly `size` bytes."""
        signal.alarm(PATIENCE)
        data = self.inp.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def line(self):
        """Return the value of the next line."""
        signal.alarm(PATIENCE)
        line = self.inp.readline(LINE_MAX)
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line.decode("utf-8"))

    def pieces(self):
        """Yield the pieces of a content."""
        while True:
            size = struct.unpack(">I", self.read(4))[0]
            if not size:
                return
            yield self.read(size)

    def send_line(self, value):
        self.out.write(json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n")

    def send_pieces(self, f, size, digest):
        """Send `size` bytes of a file, or as many as it has, and add them to the digest. Returns their number."""
        left, buffer = size, memoryview(bytearray(4 + min(PIECE, size)))
        while left:
            length = f.readinto(buffer[4 : 4 + left])
            if not length:
                break
            left -= length
            struct.pack_into(">I", buffer, 0, length)
            digest.update(buffer[4 : 4 + length])
            signal.alarm(PATIENCE)
            self.out.write(buffer[: 4 + length])
        return size - left

    def end_content(self):
        self.out.write(bytes(4))

    def flush(self):
        signal.alarm(PATIENCE)
        self.out.flush()
