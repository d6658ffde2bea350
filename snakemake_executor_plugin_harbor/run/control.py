"""Talking to a running controller: a Unix socket beside the journal, open to its user only.

One JSON object a line each way. The server answers on one thread: requests are rare and small.
"""

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import HarborError

NAME = "control"
TIMEOUT_S = 15.0
Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Control:
    """The controller's end."""

    def __init__(self, directory: Path, handler: Handler) -> None:
        self._path = directory / NAME
        self._handler = handler
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The directory is 0700 already; the mode of the socket itself is for those who look.
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
                        request = json.loads(stream.readline(1 << 16))
                        stream.write(json.dumps(self._answer(request)).encode() + b"\n")
                except (OSError, ValueError):
                    # The asker went away or does not speak our language; the next one may.
                    continue

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._handler(request)
        except HarborError as error:
            return {"error": str(error)}
        except Exception as error:
            return {"error": f"internal error: {type(error).__name__}: {error}"}

    def close(self) -> None:
        """Stop answering."""
        self._closing = True
        try:
            # Wakes the accept; closing the socket alone would not.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._thread.join(2.0)
        self._path.unlink(missing_ok=True)


def ask(directory: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one request to the controller of the journal in `directory`; HarborError if none runs or it refuses."""
    path = directory / NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise HarborError(
                f"no controller answers at {path}: {error}. Jobs that it left running are adopted by the next run.",
                "snakemake --executor harbor ...   # the same command again",
            ) from error
    if "error" in answer:
        raise HarborError(answer["error"])
    return dict(answer)
