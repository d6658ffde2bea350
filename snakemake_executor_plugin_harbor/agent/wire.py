"""The connection to the controller as the agent sees it: JSON objects, one a line, each way. Nothing here blocks."""

import json
import os
import re
import selectors
import time

MAX_LINE = 1 << 20
MAX_UNSENT = 8 << 20
HEAD = 4096  # bytes that are kept of a line that is too long
PACE = 0.02  # what is said within such a time of the last message goes out together


class Fatal(Exception):
    """The node cannot be used; `code` says in one word why."""

    def __init__(self, code, message):
        Exception.__init__(self, message)
        self.code = code


def native(message):
    """A message with its paths as this Python's file functions want them: under LC_ALL=C the locale is not UTF-8."""
    for name in ("cwd", "log", "shell", "scratch", "needs", "probe", "same", "fence", "workdir"):
        if isinstance(message, dict) and name in message:
            message[name] = native_text(message[name])
    return message


def native_text(value):
    if isinstance(value, str):
        return os.fsdecode(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list):
        return [native_text(item) for item in value]
    if isinstance(value, dict):
        return {name: native_text(item) for name, item in value.items()}
    return value


def head_of_start(head):
    """(job, attempt) of a start message that was cut off after these bytes; None if it is none."""
    text = head.decode("utf-8", "replace")
    found = re.findall(r'"(t|job|attempt)"\s*:\s*("(?:[^"\\]|\\.)*"|[0-9]+)', text)
    try:
        names = {name: json.loads(value) for name, value in reversed(found)}  # the first of a name is its own
        return (names["job"], names["attempt"]) if names["t"] == "start" else None
    except (KeyError, ValueError):
        return None


class Wire:
    """`inp` and `out` are file descriptors; `closed` once the controller is gone."""

    def __init__(self, inp, out):
        self.inp = inp
        self.out = out
        self.selector = None
        self.closed = False
        self.buffer = b""
        self.head = None  # of a line that is too long, while it comes
        self.unsent = bytearray()
        self.next_flush = 0.0

    def first_message(self):
        """Blocks, and takes no byte more than its line. The end if there is none, or it is too long."""
        line = bytearray()
        while not line.endswith(b"\n"):
            data = os.read(self.inp, 1)
            line += data
            if not data or len(line) > MAX_LINE:
                raise SystemExit(0)
        try:
            return native(json.loads(line.decode("utf-8")))
        except ValueError:
            raise Fatal("protocol", "the first line is no welcome")

    def watch(self, selector):
        """From now on the selector says when there is something to receive."""
        self.selector = selector
        os.set_blocking(self.inp, False)
        os.set_blocking(self.out, False)
        selector.register(self.inp, selectors.EVENT_READ)

    def receive(self):
        """(line, True) for each line that has come, (beginning, False) for one that was too long. Closes at the end."""
        try:
            data = os.read(self.inp, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        lines = (self.buffer + data).split(b"\n")
        self.buffer = lines.pop()
        for line in lines:
            if self.head is not None or len(line) > MAX_LINE:
                head, self.head = self.head or line[:HEAD], None
                yield head, False
            elif line.strip():
                yield line, True
        if len(self.buffer) > MAX_LINE:
            self.head, self.buffer = self.head or self.buffer[:HEAD], b""

    def send(self, message):
        """Queue a message; one that the next of its kind replaces is dropped while the controller does not read."""
        if self.closed or (len(self.unsent) > MAX_UNSENT and message["t"] in ("load", "progress", "alive")):
            return
        self.unsent += json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"

    def due(self):
        """When to flush; None: when the selector says so, or there is nothing."""
        return self.next_flush if self.unsent and not self.is_watched(self.out) else None

    def is_watched(self, fd):
        return self.selector is not None and fd in self.selector.get_map()

    def flush(self):
        """Write what can be written."""
        now = time.monotonic()
        if self.closed or now < self.next_flush:
            return
        if self.unsent:
            self.next_flush = now + PACE
        try:
            while self.unsent:
                sent = os.write(self.out, self.unsent[: 1 << 16])
                del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        waits = self.is_watched(self.out)
        if self.unsent and not waits:
            self.selector.register(self.out, selectors.EVENT_WRITE)
        elif not self.unsent and waits:
            self.selector.unregister(self.out)

    def last_words(self, message):
        """Send a message whatever it takes: the agent ends."""
        if not self.closed:
            self.send(message)
            os.set_blocking(self.out, True)
            self.next_flush = 0.0
            self.flush()

    def close(self):
        """The controller is gone, or was told all."""
        if self.closed:
            return
        self.closed = True
        for fd in (self.inp, self.out):
            if self.is_watched(fd):
                self.selector.unregister(fd)
            os.close(fd)
        # stderr is the connection's as well.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
