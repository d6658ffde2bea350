"""The connection to the controller, as the agent sees it. Each message is one JSON object on one line.

Nothing here blocks, except for the first message and the last one.
"""

import json
import os
import re
import selectors
import time

VERSION = 1  # of the messages
MAX_LINE = 1 << 20
MAX_UNSENT = 8 << 20
HEAD = 4096  # bytes that are kept of a line that is too long
SEND_PAUSE = 0.02  # seconds: messages that follow each other within this time go out together
PATHS = ("cwd", "log", "shell", "scratch", "needs", "probe", "same", "fence", "workdir", "python")


class Fatal(Exception):
    """This node cannot be used. `code` gives the reason as one word."""

    def __init__(self, code, message):
        Exception.__init__(self, message)
        self.code = code


def with_native_paths(message):
    """Convert the paths in a message to what this Python's file functions need.

    Under LC_ALL=C the encoding of file names is not UTF-8.
    """
    for name in PATHS:
        if isinstance(message, dict) and name in message:
            message[name] = native_text(message[name])
    return message


def native_text(value):
    """Do that for every text inside a value."""
    if isinstance(value, str):
        return os.fsdecode(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list):
        return [native_text(item) for item in value]
    if isinstance(value, dict):
        return {name: native_text(item) for name, item in value.items()}
    return value


def attempt_in_head(head):
    """Return (job, attempt) of a start message, of which only these first bytes are left. None if it is another one."""
    text = head.decode("utf-8", "replace")
    found = re.findall(r'"(t|job|attempt)"\s*:\s*("(?:[^"\\]|\\.)*"|[0-9]+)', text)
    try:
        # The message's own values come before those of nested objects.
        first = {name: json.loads(value) for name, value in reversed(found)}
        return (first["job"], first["attempt"]) if first["t"] == "start" else None
    except (KeyError, ValueError):
        return None


class Wire:
    """Reads and writes lines. `inp` and `out` are file descriptors. `closed` is true once the controller is gone."""

    def __init__(self, inp, out):
        self.inp = inp
        self.out = out
        self.selector = None
        self.closed = False
        self.buffer = b""
        self.head = None  # the beginning of a line that is too long and has not ended
        # The first message begins a line, whatever the login shell has printed before it.
        self.unsent = bytearray(b"\n")
        self.next_flush = 0.0

    def read_welcome(self):
        """Wait for the first message, and read no byte after its line.

        The process ends if the connection ends before that, or if the line is too long.
        """
        line = bytearray()
        while not line.endswith(b"\n"):
            data = os.read(self.inp, 1)
            line += data
            if not data or len(line) > MAX_LINE:
                raise SystemExit(0)
        try:
            return with_native_paths(json.loads(line.decode("utf-8")))
        except ValueError:
            raise Fatal("protocol", "the first line is no welcome")

    def register(self, selector):
        """Let a selector say when there is something to receive. From now on reads and writes do not block."""
        self.selector = selector
        os.set_blocking(self.inp, False)
        os.set_blocking(self.out, False)
        selector.register(self.inp, selectors.EVENT_READ)

    def receive(self):
        """Yield (line, True) for each line that has arrived, and (its beginning, False) for one that was too long.

        At the end of the input the connection is closed.
        """
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
        """Queue a message.

        While the controller does not read, messages that a later one of their kind replaces are dropped.
        """
        if self.closed or (len(self.unsent) > MAX_UNSENT and message["t"] in ("load", "progress", "alive")):
            return
        self.unsent += json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"

    def flush_due(self):
        """Return when to flush. None means that there is nothing to flush, or that the selector will say when."""
        return self.next_flush if self.unsent and not self.is_registered(self.out) else None

    def is_registered(self, fd):
        return self.selector is not None and fd in self.selector.get_map()

    def flush(self):
        """Write as much as the connection takes."""
        now = time.monotonic()
        if self.closed or now < self.next_flush:
            return
        if self.unsent:
            self.next_flush = now + SEND_PAUSE
        try:
            while self.unsent:
                sent = os.write(self.out, self.unsent[: 1 << 16])
                del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        waits = self.is_registered(self.out)
        if self.unsent and not waits:
            self.selector.register(self.out, selectors.EVENT_WRITE)
        elif not self.unsent and waits:
            self.selector.unregister(self.out)

    def send_last(self, message):
        """Send a message before the agent ends, and wait until it is written."""
        if not self.closed:
            self.send(message)
            os.set_blocking(self.out, True)
            self.next_flush = 0.0
            self.flush()

    def close(self):
        """Close the connection, because the controller is gone or has said goodbye."""
        if self.closed:
            return
        self.closed = True
        for fd in (self.inp, self.out):
            if self.is_registered(fd):
                self.selector.unregister(fd)
            os.close(fd)
        # stderr belongs to the connection as well.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
