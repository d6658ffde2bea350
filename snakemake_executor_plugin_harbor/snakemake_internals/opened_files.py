"""The files that the code of Snakefiles opens while the DAG is built, such as a table of samples.

Snakemake does not know of them. A Snakemake that reads the workflow on a node needs them, too.
"""

import inspect
import os
import sys
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

MOST = 10_000
"""No more files are recorded. A run with another executor never says that the DAG has been built."""

_found: dict[str, None] = {}
_recording = True


def stop() -> None:
    """Record no more, because the DAG has been built."""
    global _recording
    _recording = False


def read_by_snakefiles() -> list[str]:
    """Return the absolute paths of the files that were opened for reading."""
    return list(_found)


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook. Python calls it for many events, so it returns at once for most of them."""
    if event != "open" or not _recording or len(_found) >= MOST:
        return
    path, mode, flags = arguments
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    is_read = not set(mode) & set("wax+") if isinstance(mode, str) else not (flags or 0) & _WRITING
    if is_read and isinstance(path, str) and not path.endswith(".pyc") and _is_called_by_snakefile():
        _found[os.path.abspath(path)] = None


def _is_called_by_snakefile() -> bool:
    """Return True if code of a Snakefile is being executed. Only its file name does not end in `.py`."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.endswith(".py") and not name.startswith("<"):
            return True
        frame = frame.f_back
    return False


sys.addaudithook(_record)
