"""Prints a file that grows, as `tail -f` does."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

PIECE = 1 << 20
INTERVAL_S = 0.1


def follow(path: Path, has_ended: Callable[[], bool], offset: int = 0) -> None:
    """Print a file from the byte `offset` on, and what is added to it until nobody writes to it any more."""
    with path.open("rb") as file:
        file.seek(offset)
        ended = False
        while not ended:
            ended = has_ended()  # It is asked first, so that the text before the end is read.
            while piece := file.read(PIECE):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            if not ended:
                time.sleep(INTERVAL_S)


def last_lines(path: Path, count: int) -> int:
    """Return the offset at which the last `count` lines of a file begin, or those of its last megabyte."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        begin = file.seek(max(0, size - PIECE))
        lines = file.read().splitlines(keepends=True)
    if begin == 0 and len(lines) <= count:
        return 0
    return size - sum(map(len, lines[-count:]))
