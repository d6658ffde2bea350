"""Reads the output of a job: its progress, its end, and the pieces that the controller asks for.

Progress is found by harbor's marker, or by a regular expression that the user gives.
"""

import os
import re
import signal

READ_MAX = 1 << 20
TAIL = 4096
PIECE_MAX = 1 << 19  # in base64 it still fits into one line
MARKER = re.compile(rb"\x02\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]+(?:\.[0-9]+)?)\s*\x03")
# Some expressions take ages for a line that does not match, for example (a+)+b. So the time has a bound, in seconds.
MATCH_TIMEOUT = 1.0


class TooSlow(Exception):
    """A regular expression takes too long."""


class Output:
    """The file to which a job writes its stdout and stderr.

    `progress` is the last [done, total] that was found. `grew` is set when there is new output, and the reader of it
    resets it. `expression_failed` is set if the user's expression took too long, and is not used any more.
    """

    def __init__(self, path, expression):
        self.path = path
        self.offset = 0
        self.rest = b""
        self.progress = None
        self.grew = False
        self.expression_failed = False
        self.pattern = None
        if expression:
            try:
                self.pattern = re.compile(expression.encode("utf-8"))
            except Exception:
                pass  # The record was written by an agent of another version.

    def read(self):
        """Read the new output. At most its last MiB is read, so that a flood costs little."""
        try:
            with open(self.path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                if size <= self.offset:
                    return
                if size - self.offset > READ_MAX:
                    self.offset, self.rest = size - READ_MAX, b""
                f.seek(self.offset)
                data = self.rest + f.read(READ_MAX)
                self.offset = f.tell()
        except OSError:
            return
        self.grew = True
        found = self.search(data)
        if found is not None:
            try:
                self.progress = [float(found.group(1)), float(found.group(2))]
            except (ValueError, TypeError, IndexError):
                pass

    def search(self, data):
        """Return the last match in new output, and keep what a match may begin with."""
        if self.pattern is None:
            cut = data.rfind(b"\x02", -64)
            self.rest = data[cut:] if cut >= 0 and b"\x03" not in data[cut:] else b""
            return last_match(MARKER, data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1  # Progress bars rewrite their line.
        self.rest = data[end:][-65536:]
        try:
            return call_within(MATCH_TIMEOUT, last_match, self.pattern, data[:end])
        except TooSlow:
            self.pattern, self.expression_failed = None, True
            return None

    def tail(self):
        """Return the end of the output."""
        try:
            with open(self.path, "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - TAIL))
                return f.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def piece(self, offset, size):
        """Return (bytes from `offset` on, size of the whole output)."""
        try:
            with open(self.path, "rb") as f:
                whole = os.fstat(f.fileno()).st_size
                f.seek(max(0, offset))
                return f.read(min(PIECE_MAX, max(0, size))), whole
        except OSError:
            return b"", 0


def last_match(pattern, data):
    found = None
    for match in pattern.finditer(data):
        found = match
    return found


def call_within(seconds, function, *args):
    """Call a function. TooSlow is raised if it takes too long, which works because `re` looks for signals meanwhile."""
    armed = [True]

    def interrupt(*_):
        if armed:
            raise TooSlow()

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        result = function(*args)
        armed.clear()
        return result
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
