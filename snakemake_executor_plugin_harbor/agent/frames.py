"""The stream between the mover and the controller: lines of JSON, and contents of files.

A content is a sequence of pieces, each with its length in four bytes before it. A piece of length 0 ends the content.
"""

import json
import os
import signal
import struct

PIECE = 1 << 18
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

    def send_piece(self, data):
        """Send a piece. An empty one ends the content."""
        signal.alarm(PATIENCE)
        self.out.write(struct.pack(">I", len(data)) + data)

    def flush(self):
        signal.alarm(PATIENCE)
        self.out.flush()
