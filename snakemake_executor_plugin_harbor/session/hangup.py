"""Keeps a run going when its terminal is closed. The output goes on in a file."""

import errno
import logging
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, cast

CHECK_MS = 1000
"""The kernel tells at once that a pseudo-terminal or a pipe is dead, but not of every kind of terminal."""
GONE = (errno.EIO, errno.EPIPE)
"""The errors of writing to a terminal that was closed, and to a pipe without a reader."""


def ignore_hangup() -> None:
    """Ignore SIGHUP, in this process and in those that it starts. A handler of the surrounding program stays."""
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Output:
    """Standard output and standard error. When nobody can read one of them any more, it is redirected into a file.

    The terminal may be gone before anybody is told, and `tee` may end with it. So a thread watches the readers, and
    what a write could not write meanwhile goes to the file, too.
    """

    def __init__(self, open_log: Callable[[], int], lost: Callable[[], object]) -> None:
        """`open_log` opens the file, once. `lost` is called after the first redirection, on a thread of its own."""
        self._open_log = open_log
        self._lost = lost
        self._log: int | None = None
        self._redirected: set[int] = set()
        self._lock = threading.Lock()

    def watch(self, logger: Any) -> None:
        """Watch from now on. `logger` is Snakemake's logger, whose handlers have kept the streams."""
        # A terminal is a device, and isatty() would not recognize one that is closed already. `tee` reads from a pipe.
        readers = [number for number in (1, 2) if _leads_to(number, stat.S_ISCHR, stat.S_ISFIFO, stat.S_ISSOCK)]
        if not readers:
            return
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _number(stream) in readers:
                kept = cast(TextIO, _Stream(stream, self.redirect))
                setattr(sys, name, kept)
                for handler in logger.handlers:
                    if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                        handler.setStream(kept)
        watched = [0, *readers] if _leads_to(0, stat.S_ISCHR) else readers
        threading.Thread(target=self._watch, args=(watched,), name="harbor-output", daemon=True).start()

    def redirect(self, number: int) -> None:
        """Redirect a descriptor, once. Any thread may call it, also while it writes to Snakemake's log."""
        with self._lock:
            if number in self._redirected:
                return
            self._redirected.add(number)
            if number == 0:
                target = os.open(os.devnull, os.O_RDONLY)
                os.dup2(target, number)
                os.close(target)
                return
            if self._log is None:
                try:
                    self._log = self._open_log()
                except OSError:  # Snakemake's own log has the output, too.
                    self._log = os.open(os.devnull, os.O_WRONLY)
            os.dup2(self._log, number)

    def _watch(self, numbers: Iterable[int]) -> None:
        poll = select.poll()
        watched = set(numbers)
        for number in watched:
            poll.register(number, 0)  # Without any event asked for, only errors and hangups are reported.
        told = False
        while watched:
            for number, event in poll.poll(CHECK_MS):
                poll.unregister(number)
                watched.discard(number)
                if not event & select.POLLNVAL:
                    self.redirect(number)
            if self._log is not None and not told:
                told = True
                self._lost()


class _Stream:
    """Writes to a stream. What cannot be written because the reader is gone is written after the redirection."""

    def __init__(self, stream: TextIO, redirect: Callable[[int], object]) -> None:
        self._stream = stream
        self._redirect = redirect

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._go_on(error)
            # An unbuffered stream (PYTHONUNBUFFERED) keeps nothing, and others have written it by now.
            return self._stream.write(text) if getattr(self._stream, "write_through", False) else len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._go_on(error)

    def _go_on(self, error: OSError) -> None:
        """Redirect the stream. What it could not write is still in its buffer, so flushing writes it."""
        if error.errno not in GONE:
            raise error
        self._redirect(self._stream.fileno())
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def log_file(logger: Any) -> Path | None:
    """Return the path of Snakemake's own log, or None if it has none."""
    paths = [handler.baseFilename for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    return Path(paths[0]) if paths else None


def _leads_to(number: int, *kinds: Callable[[int], bool]) -> bool:
    try:
        mode = os.fstat(number).st_mode
    except OSError:
        return False
    return any(kind(mode) for kind in kinds)


def _number(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None
