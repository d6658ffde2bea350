"""Gives access to a command on a node through paramiko, as a Channel of transport.py."""

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..process_channel import AFTERMATH_S, READ_SIZE, Tail

if TYPE_CHECKING:
    import paramiko

PACKET = 32704
"""A packet to OpenSSH has at most so many bytes of data. paramiko would copy the rest of a larger write each time."""


class ParamikoChannel:
    """Implements Channel of transport.py. It is made before the command starts, because it replaces a buffer.

    The reader of stdout empties stderr too. Both share one window, so unread stderr would stop the command.
    """

    def __init__(self, channel: "paramiko.Channel", shut_down_sockets: Callable[[], None]) -> None:
        self._channel = channel
        self._shut_down_sockets = shut_down_sockets
        self._tail = Tail()
        self._closed = False
        self._data_event = _DataEvent()
        channel.in_buffer = _Packets(self._data_event)  # type: ignore[assignment]  # it has the methods that are used
        channel.in_stderr_buffer.set_event(self._data_event)

    def read(self) -> bytes:
        import paramiko

        channel = self._channel
        while not self._closed:
            self._data_event.clear_by_reader()
            self._read_stderr()
            if channel.recv_ready() or channel.eof_received or channel.closed:
                try:
                    return channel.recv(READ_SIZE)
                except (paramiko.SSHException, EOFError, OSError):
                    return b""  # It tells the server that there is room again, and the connection is gone.
            self._data_event.wait()
        return b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        import paramiko

        view = memoryview(data)
        while view:
            try:
                sent = self._channel.send(bytes(view[:PACKET]))
            except (paramiko.SSHException, EOFError) as error:
                raise BrokenPipeError(f"the connection is gone: {error}") from error
            if sent == 0 or self._closed:
                raise BrokenPipeError("the channel is closed")
            view = view[sent:]

    def close(self) -> None:
        # channel.close() would send a message, and wait behind a writer that a dead peer blocks.
        self._closed = True
        self._shut_down_sockets()
        self._data_event.set()

    def stderr(self) -> str:
        self._read_stderr()
        return self._tail.text()

    def exit_status(self) -> int | None:
        channel = self._channel
        if channel.eof_received and not self._closed:
            channel.status_event.wait(AFTERMATH_S)
        return channel.exit_status if channel.exit_status >= 0 else None

    def _read_stderr(self) -> None:
        while self._channel.recv_stderr_ready():
            self._tail.add(self._channel.recv_stderr(READ_SIZE))


class _Packets:
    """Keeps the packets of stdout as they arrive. It takes the place of paramiko's BufferedPipe, which copies each byte
    four times and moves what is left at each read. The server sends no more than the window has (2 MiB).
    """

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self._packets: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        self._packets.append(data)
        self._event.set()

    def read_ready(self) -> bool:
        return bool(self._packets)

    def read(self, size: int, timeout: float | None = None) -> bytes:
        """Return a packet, or b"" if there is none. Only the reader of the channel may call it."""
        if not self._packets:
            return b""
        data = self._packets.popleft()
        if len(data) > size:
            self._packets.appendleft(data[size:])
        return data[:size]

    def close(self) -> None:
        self._event.set()

    def __len__(self) -> int:
        return sum(map(len, self._packets))


class _DataEvent(threading.Event):
    """Gets set when stdout or stderr has data. paramiko's buffers may set it, but only the reader may clear it."""

    def clear(self) -> None:
        """Do nothing. An empty buffer calls this, while the other buffer may still have data."""

    def clear_by_reader(self) -> None:
        super().clear()
