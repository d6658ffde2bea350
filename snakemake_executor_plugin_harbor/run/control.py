"""The controller's end of the control socket (`store/control_socket.py`).

One thread answers the requests one after the other, because they are rare and small.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..store.control_socket import NAME, TIMEOUT_S

REQUEST_MAX = 1 << 16
"""Bytes of a request that are read at most."""
Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Control:
    """The server. `handler` makes the answer to a request; a HarborError that it raises becomes the answer."""

    def __init__(self, directory: Path, handler: Handler) -> None:
        self._path = directory / NAME
        self._handler = handler
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The directory is 0700 already. The socket's own mode shows the same to people who list the directory.
        self._socket.bind(str(self._path))
        self._path.chmod(0o600)
        self._socket.listen(16)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="harbor-control", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(TIMEOUT_S)
                try:
                    with connection.makefile("rwb") as stream:
                        request = json.loads(stream.readline(REQUEST_MAX))
                        stream.write(json.dumps(self._answer(request)).encode() + b"\n")
                except (OSError, ValueError, RecursionError):
                    # The client went away, or it does not send JSON. Other clients are not affected.
                    continue

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._handler(request)
        except HarborError as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": f"internal error: {type(error).__name__}: {error}"}

    def close(self) -> None:
        """Stop answering, and remove the socket."""
        self._closing = True
        try:
            # This wakes the thread from accept(); close() alone would not.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._thread.join(2.0)
        self._path.unlink(missing_ok=True)
