"""The host file while a run goes on: read again when it changes."""

from collections.abc import Callable
from pathlib import Path

from ..core.model import NodeSpec


class HostList:
    """Looks at the host file; `read` makes the whole host list, raising HarborError for a bad edit."""

    def __init__(self, path: Path | None, read: Callable[[], tuple[NodeSpec, ...]]) -> None:
        self._path = path
        self._read = read
        self._read_at = self._seen = self._stamp()

    def changed(self) -> tuple[NodeSpec, ...] | None:
        """The new host list, once for each change. A change counts when it is seen twice alike: editors write in
        pieces, and may remove the file before they put another in its place.
        """
        seen, self._seen = self._seen, self._stamp()
        if self._seen is None or seen != self._seen or self._seen == self._read_at:
            return None
        self._read_at = self._seen
        return self._read()

    def _stamp(self) -> tuple[int, ...] | None:
        """What tells one state of the file from another; None if there is none to look at."""
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino
