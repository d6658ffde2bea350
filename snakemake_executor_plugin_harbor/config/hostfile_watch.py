"""Detects edits of the host file during a run."""

import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from ..core.model import NodeSpec
from ..errors import HarborError


class HostfileWatch:
    """Watches the host file at `path`. `read` reads the whole host list."""

    def __init__(self, path: Path | None, read: Callable[[], tuple[NodeSpec, ...]]) -> None:
        self._path = path
        self._read = read
        self._read_at = self._seen = self._stamp()

    def changed(self) -> tuple[NodeSpec, ...] | None:
        """Return the new host list, once per edit. Return None if nothing has changed.

        An edit counts if two calls in a row see the file in the same state, because editors write in pieces and may
        remove the file before they put another one in its place. A bad edit raises HarborError once. The run goes on
        with its earlier host list then, whatever the file contains.
        """
        seen, self._seen = self._seen, self._stamp()
        if seen != self._seen or self._seen == self._read_at:
            return None
        self._read_at = self._seen
        if self._seen and not stat.S_ISREG(self._seen[-1]):
            # Reading a pipe would wait for its writer.
            raise HarborError(f"{self._path} is no longer a regular file.", f"ls -l {shlex.quote(str(self._path))}")
        try:
            return self._read()
        except HarborError:
            raise
        except Exception as error:
            raise HarborError(f"{self._path} cannot be read: {type(error).__name__}: {error}.") from error

    def _stamp(self) -> tuple[int, ...]:
        """Return numbers that differ for different states of the file. They are empty if there is no file."""
        if self._path is None:
            return ()
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return ()
        if not stat.S_ISREG(found.st_mode):
            return (found.st_mode,)  # a pipe of the shell or /dev/null, which is read only at the start
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
