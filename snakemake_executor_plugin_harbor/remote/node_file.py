"""Looks for a file that a node has made in the working directory: whether we see, may read and may remove it."""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

VISIBLE_S = 5.0
"""A network file system may show new files this much later."""
POLL_S = 0.1


@dataclass(frozen=True)
class NodeFile:
    """The file as we see it. `problem` is the operation that failed and why, or "". `uid` is the file's owner."""

    problem: str = ""
    uid: int | None = None


def inspect(path: Path, text: str, deadline: float) -> NodeFile:
    """Look at the file that should contain `text`, and remove it. It may appear until `deadline`."""
    while not os.path.lexists(path):
        if time.monotonic() > deadline:
            return NodeFile("this machine does not see it")
        time.sleep(POLL_S)
    uid = None
    try:
        uid = path.lstat().st_uid
        if _content(path, len(text)) != text.encode():
            return NodeFile("this machine reads something else in it", uid)
    except OSError as error:
        return NodeFile(f"this machine cannot read it: {error.strerror or error}", uid)
    finally:
        removed = _remove(path)
    return NodeFile(f"this machine cannot remove it: {removed}" if removed else "", uid)


def _content(path: Path, size: int) -> bytes:
    """Return the content of a plain file. A node is not trusted, so the file may be anything, also a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(fd, size + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _remove(path: Path) -> str:
    try:
        path.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""
