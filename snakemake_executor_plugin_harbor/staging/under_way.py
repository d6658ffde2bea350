"""The transfers to and from one node that are under way, for those who look on."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from .model import Transfer
from .stream import Stream


@dataclass(eq=False)
class Noted:
    """A transfer, and what its stream had moved before."""

    directory: str
    sends: bool
    stream: Stream
    before: int
    total: int | None = None

    def seen(self) -> Transfer:
        return Transfer(self.directory, self.sends, self.stream.contents - self.before, self.total)


class UnderWay:
    """Any thread may call the methods."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: list[Noted] = []

    @contextlib.contextmanager
    def note(self, directory: str, sends: bool, stream: Stream) -> Iterator[Noted]:
        """Note a transfer until the block ends."""
        noted = Noted(directory, sends, stream, stream.contents)
        with self._lock:
            self._noted.append(noted)
        try:
            yield noted
        finally:
            with self._lock:
                self._noted.remove(noted)

    def transfers(self) -> list[Transfer]:
        """Return the transfers as they are now."""
        with self._lock:
            found = list(self._noted)
        return [noted.seen() for noted in found]
