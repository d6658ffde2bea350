"""Moves files to and from one node, over connections of its own."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..core.codec import Decoder, Message
from ..core.model import NodeSpec
from ..remote.bootstrap import bootstrap_command, mover_input
from ..remote.handshake import AgentError, start_program
from ..remote.transport import ConnectError, Transport
from .arrival import Arrival
from .exchange import check, receive, send
from .manifest import Checksums, manifest
from .model import Moved, MoveFailed, Source, Transfer, Wanted
from .stream import Stream
from .under_way import UnderWay

LARGE_BYTES = 1 << 20
LARGE, SMALL = 3, 3
"""At most so many transfers to or from one node with more than LARGE_BYTES, and with less, happen at the same time. The
end of a short job must not wait for the files of others (10 MB/s, 20 MB a file, three places for all: known after 2 s).
"""
HELLO_TIMEOUT_S = 60.0
SILENT_S = 120.0
"""A transfer over which nothing has moved for so long is cut. The node may need some time to copy a large file."""
REUSE_S = 30.0
"""A connection that was idle for longer is not used again. The mover on the node ends after 60 s (agent/frames.py)."""
SKEW_S = 2.0
"""A node's clock that differs by less is taken as ours."""


@dataclass(eq=False)
class _Connection:
    """One connection with a mover at its other end. `skew_s` is how far the node's clock is ahead."""

    transport: Transport
    stream: Stream
    skew_s: float
    idle_since: float = 0.0
    busy: bool = False


class Mover:
    """All methods may be called from any thread. They raise MoveFailed."""

    def __init__(
        self,
        spec: NodeSpec,
        transport: Callable[[NodeSpec], Transport],
        welcome: Callable[[NodeSpec], Message],
        checksums: Checksums,
    ) -> None:
        """`welcome` makes the first message that the mover gets. `checksums` may be shared by all nodes."""
        self.spec = spec
        self._make_transport = transport
        self._welcome = welcome
        self._checksums = checksums
        self._places = threading.Semaphore(LARGE + SMALL)
        self._large = threading.Semaphore(LARGE)
        self._lock = threading.Condition()
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._sending: set[str] = set()
        self._there: set[str] = set()
        self._connects = False
        self._closed = False
        self._under_way = UnderWay()

    def put(self, directory: str, sources: Iterable[Source], directories: Iterable[str] = ()) -> Moved:
        """Make an attempt's directory on the node, with these files and empty directories.

        Contents that the node has in its cache are not sent.
        """
        began = time.monotonic()
        wait_for_connection = self._connect_ahead()
        entries = manifest(sources, directories, self._checksums)
        # Two attempts that need the same large file must not both send it.
        claimed = self._claim({entry.sha for entry in entries if entry.sha})
        is_large = sum(entry.size for entry in entries if entry.sha in claimed) > LARGE_BYTES
        try:
            wait_for_connection()
            with (
                self._connection(is_large) as connection,
                self._under_way.note(directory, True, connection.stream) as noted,
            ):

                def needed(contents: set[str], size: int) -> None:
                    noted.total = size
                    self._release(claimed - contents)

                files, size = send(connection.stream, directory, entries, needed)
        finally:
            self._release(claimed)
        with self._lock:
            self._there |= {entry.sha for entry in entries if entry.sha}
        sizes: dict[str, int] = {}
        for entry in entries:
            if entry.source:
                sizes[entry.source] = sizes.get(entry.source, 0) + entry.size
        return Moved(files, size, time.monotonic() - began, sizes=sizes)

    def fetch(self, directory: str, targets: Sequence[Wanted], root: str = ".") -> Moved:
        """Fetch from an attempt's directory. The files take their places when all have arrived.

        `root` is the working directory, out of which no link may lead.
        """
        began = time.monotonic()
        moved = self._fetch(directory, targets, root, is_large=False) or self._fetch(
            directory, targets, root, is_large=True
        )
        assert moved is not None
        return replace(moved, seconds=time.monotonic() - began)

    def _fetch(self, directory: str, targets: Sequence[Wanted], root: str, is_large: bool) -> Moved | None:
        """Fetch, if the files are small or may be large. Return None if they are too large."""
        with self._connection(is_large) as connection, self._under_way.note(directory, False, connection.stream):
            arrival = Arrival(targets, connection.skew_s, root)
            limit = None if is_large else LARGE_BYTES
            try:
                if not receive(connection.stream, directory, [target.name for target in targets], limit, arrival):
                    return None
                missing = arrival.finish()
            except BaseException:
                arrival.undo()
                raise
        return Moved(arrival.files, arrival.bytes, 0.0, missing, arrival.sizes)

    def remove(self, directory: str) -> None:
        """Remove an attempt's directory."""
        with self._connection() as connection:
            connection.stream.send_line({"op": "remove", "dir": directory})
            connection.stream.flush()
            check(connection.stream.line())

    def transfers(self) -> list[Transfer]:
        """Return the transfers that are under way."""
        return self._under_way.transfers()

    def close(self) -> None:
        """End all connections. Transfers that are under way fail."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
            self._lock.notify_all()
        for connection in connections:
            connection.transport.close()

    def check_silence(self, now: float) -> None:
        """Cut the transfers over which nothing moves any more."""
        with self._lock:
            silent = [one for one in self._open if one.busy and now - one.stream.moved_at > SILENT_S]
        for connection in silent:
            connection.transport.close()

    # --- contents that are being sent ---------------------------------------------------------------------------

    def _claim(self, contents: set[str]) -> set[str]:
        """Wait until nobody else sends one of these contents, and claim those that may not be on the node yet."""
        with self._lock:
            self._lock.wait_for(lambda: self._closed or not (contents - self._there) & self._sending)
            claimed = contents - self._there
            self._sending |= claimed
            return claimed

    def _release(self, contents: set[str]) -> None:
        with self._lock:
            self._sending -= contents
            self._lock.notify_all()

    # --- connections ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connection(self, is_large: bool = False) -> Iterator[_Connection]:
        """Lend a connection. After an error it is closed, because nobody knows what still comes over it."""
        with self._large if is_large else contextlib.nullcontext(), self._places:
            connection = self._take()
            connection.stream.moved_at, connection.busy = time.monotonic(), True
            try:
                yield connection
            except BaseException as error:
                self._drop(connection)
                if isinstance(error, OSError):
                    kind = "link" if isinstance(error, ConnectionError) else "local"
                    raise MoveFailed(kind, _text(error)) from error
                raise
            connection.idle_since, connection.busy = time.monotonic(), False
            with self._lock:
                self._idle.append(connection)

    def _connect_ahead(self) -> Callable[[], None]:
        """Connect in another thread if there is no connection yet, because the checksums of large files take time.

        The function that is returned waits for the connection. It raises MoveFailed.
        """
        with self._lock:
            if self._open or self._connects or self._closed:
                return lambda: None
            self._connects = True
        errors: list[BaseException] = []

        def connect() -> None:
            try:
                connection = self._connect()
                connection.idle_since = time.monotonic()
                with self._lock:
                    self._idle.append(connection)
            except BaseException as error:
                errors.append(error)
            finally:
                self._connects = False

        def wait() -> None:
            thread.join()
            if errors:
                raise errors[0]

        thread = threading.Thread(target=connect, name=f"harbor-mover-{self.spec.name}", daemon=True)
        thread.start()
        return wait

    def _take(self) -> _Connection:
        with self._lock:
            if self._closed:
                raise MoveFailed("link", "the run ends")
            connection = self._idle.pop() if self._idle else None
        if connection is not None and time.monotonic() - connection.idle_since < REUSE_S:
            return connection
        if connection is not None:
            self._drop(connection)
            return self._take()
        return self._connect()

    def _connect(self) -> _Connection:
        transport = self._make_transport(self.spec)
        try:
            channel = transport.open(bootstrap_command(self.spec.python, self.spec.setup), first=True)
            asked = time.time()
            timer = threading.Timer(HELLO_TIMEOUT_S, channel.close)
            timer.daemon = True
            timer.start()
            try:
                hello, _, _ = start_program(channel, mover_input(self._welcome(self.spec)), channel.read, Decoder())
            finally:
                timer.cancel()
        except (AgentError, ConnectError, OSError) as error:
            transport.close()
            raise MoveFailed("link", f"no connection for files: {_text(error)}") from error
        except BaseException:
            transport.close()
            raise
        # The mover's answer took some time, so its clock was read between these two moments.
        clock = hello.get("time")
        told = float(clock) if isinstance(clock, (int, float)) else asked
        now = time.time()
        skew = told - now if told > now else min(0.0, told - asked)
        connection = _Connection(transport, Stream(channel), skew if abs(skew) > SKEW_S else 0.0)
        with self._lock:
            self._open.add(connection)
            closed = self._closed
        if closed:
            self._drop(connection)
            raise MoveFailed("link", "the run ends")
        return connection

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.transport.close()


def _text(error: BaseException) -> str:
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error, OSError) and error.filename else ""
    return f"{where}{(isinstance(error, OSError) and error.strerror) or error}"
