"""The Unix socket beside the journal through which the `harbor` command talks to a running controller.

One JSON object per line travels in each direction. The controller's end is `run/control.py`.
"""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import HarborError

NAME = "control"
TIMEOUT_S = 15.0


def ask(directory: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send one request to the controller whose journal is in `directory`, and return its answer.

    Raises HarborError if no controller runs, or if the controller refuses the request.
    """
    path = directory / NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(os.fspath(path))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise HarborError(
                "no run goes on here. Jobs that the last run left on nodes are adopted by the next one.",
                "snakemake --executor harbor ...   # the same command again",
            ) from error
        except (OSError, ValueError) as error:
            raise HarborError(
                f"no controller answers at {path}: {error}. Jobs that it left running are adopted by the next run.",
                "snakemake --executor harbor ...   # the same command again",
            ) from error
    if "error" in answer:
        raise HarborError(answer["error"])
    return dict(answer)
