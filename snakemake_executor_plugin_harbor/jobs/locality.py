"""How long it would take to send a job's inputs to each node. Placement counts this time against the load of nodes.

Only what this run has moved is known to be on a node. The node's cache may have more.
"""

import os
import threading
from collections.abc import Iterable, Mapping

from ..staging.model import Moved

DEFAULT_BYTES_PER_S = 100e6
"""The pace of a node to which nothing large was moved yet: that of a gigabit network."""
MEASURED_FROM = 1 << 20
"""A transfer of fewer bytes says more about round trips than about the pace."""
STEP_S = 0.25
"""Times are multiples of this, so that jobs with like inputs stay one class. A shorter time does not count."""


class Locality:
    """Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._there: dict[str, dict[str, int]] = {}
        self._pace: dict[str, float] = {}

    def moved(self, node: str, sizes: Mapping[str, int], moved: Moved) -> None:
        """Files or directories of these sizes (bytes, by their paths here) are on a node now."""
        inodes = {path: _inode(path) for path in sizes}
        with self._lock:
            self._sizes.update(sizes)
            self._there.setdefault(node, {}).update(inodes)
            if moved.bytes >= MEASURED_FROM and moved.seconds > 0:
                pace, known = moved.bytes / moved.seconds, self._pace.get(node)
                self._pace[node] = pace if known is None else 0.7 * known + 0.3 * pace

    def seconds_to_send(self, inputs: Iterable[str], nodes: Iterable[str]) -> tuple[tuple[str, float], ...]:
        """Return the nodes to which the inputs would be sent for STEP_S or longer, with the time (seconds)."""
        found = [(path, size, inode) for path in inputs if (size := self._size(path)) and (inode := _inode(path))]
        seconds = []
        with self._lock:
            for node in nodes:
                there = self._there.get(node, {})
                missing = sum(size for path, size, inode in found if there.get(path) != inode)
                steps = int(missing / self._pace.get(node, DEFAULT_BYTES_PER_S) / STEP_S)
                if steps:
                    seconds.append((node, steps * STEP_S))
        return tuple(seconds)

    def _size(self, path: str) -> int:
        """Return the bytes of a file, or of a directory that was moved before."""
        try:
            return self._sizes.get(path, 0) if os.path.isdir(path) else os.stat(path).st_size
        except OSError:
            return 0


def _inode(path: str) -> int:
    """Return what stays when Snakemake touches a file, and changes when the file is replaced."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
