"""The host file while a run goes on: read again when it changes."""

import stat
from collections.abc import Callable
from pathlib import Path

from ..core.model import NodeSpec
from ..errors import HarborError


class HostfileWatch:
    """Looks at the host file; `read` makes the whole host list."""

    def __init__(self, path: Path | None, read: Callable[[], tuple[NodeSpec, ...]]) -> None:
        self._path = path
        self._read = read
        self._read_at = self._seen = self._stamp()

    def changed(self) -> tuple[NodeSpec, ...] | None:
        """The new host list, once for each change. A change counts when it is seen twice alike: editors write in
        pieces, and may remove the file before they put another in its place. Raises HarborError for a bad edit, once:
        whatever the file contains, a run goes on with the list that it has.
        """
        seen, self._seen = self._seen, self._stamp()
        if seen != self._seen or self._seen == self._read_at:
            return None
        self._read_at = self._seen
        if self._seen and not stat.S_ISREG(self._seen[-1]):
            # Reading a pipe would wait for somebody who writes.
            raise HarborError(f"{self._path} is not a file any more.")
        try:
            return self._read()
        except HarborError:
            raise
        except Exception as error:
            raise HarborError(f"{self._path} cannot be read: {type(error).__name__}: {error}.") from error

    def _stamp(self) -> tuple[int, ...]:
        """What tells one state of the file from another; empty if there is none to look at."""
        if self._path is None:
            return ()
        try:
            found = self._path.stat()
        except (OSError, ValueError):
            return ()
        if not stat.S_ISREG(found.st_mode):
            return (found.st_mode,)  # a pipe from the shell, or /dev/null: read once
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
