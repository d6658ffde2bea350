"""What a job's output says of its progress: by harbor's marker, or by an expression of the user's."""

import os
import re
import signal

READ_MAX = 1 << 20
MARKER = re.compile(rb"\x02\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]+(?:\.[0-9]+)?)\s*\x03")
# Seconds that an expression may take: some take ages for a line that does not match, like (a+)+b.
PATIENCE = 1.0


class Slow(Exception):
    """An expression takes too long."""


class Follower:
    """Reads what comes to an output file. `progress`: the last [done, total]; `slow`: the expression was given up."""

    def __init__(self, expression):
        self.offset = 0
        self.rest = b""
        self.progress = None
        self.slow = False
        self.pattern = None
        if expression:
            try:
                self.pattern = re.compile(expression.encode("utf-8"))
            except Exception:
                pass  # of another version of us

    def read(self, path):
        """Whether there is more than at the last time. Bounded: a flood is skipped to its end."""
        try:
            with open(path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                if size <= self.offset:
                    return False
                if size - self.offset > READ_MAX:
                    self.offset, self.rest = size - READ_MAX, b""
                f.seek(self.offset)
                data = self.rest + f.read(READ_MAX)
                self.offset = f.tell()
        except OSError:
            return False
        if self.pattern is None:
            found = last_match(MARKER, data)
            cut = data.rfind(b"\x02", -64)
            self.rest = data[cut:] if cut >= 0 and b"\x03" not in data[cut:] else b""
        else:
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1  # progress bars rewrite their line
            self.rest = data[end:][-65536:]
            try:
                found = within(PATIENCE, last_match, self.pattern, data[:end])
            except Slow:
                found, self.pattern, self.slow = None, None, True
        if found is not None:
            try:
                self.progress = [float(found.group(1)), float(found.group(2))]
            except (ValueError, TypeError, IndexError):
                pass
        return True


def last_match(pattern, data):
    found = None
    for match in pattern.finditer(data):
        found = match
    return found


def within(seconds, function, *args):
    """Call a function. Slow if that takes too long: `re` looks for signals meanwhile."""
    armed = [True]

    def interrupt(*_):
        if armed:
            raise Slow()

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
