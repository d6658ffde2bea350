"""The list of what an attempt's directory gets: files with their checksums, directories and symbolic links."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .model import MoveFailed, Source

FILE, WRITABLE, DIRECTORY, LINK = "fwdl"
PIECE = 1 << 18


@dataclass(frozen=True)
class Entry:
    """One file, directory or link. `path` is where it lies on the controller, and `name` where in the copy. `source` is
    the path of the Source that it belongs to.
    """

    path: str
    name: str
    kind: str
    mode: int = 0o755
    mtime_ns: int = 0
    size: int = 0
    sha: str = ""
    target: str = ""
    source: str = ""

    def line(self) -> list[Any]:
        """The entry as it is sent. `agent/stage_in.py` reads it."""
        return [self.name, self.kind, self.mode, self.mtime_ns, self.size, self.sha, self.target]


class Checksums:
    """The checksums of files that were read already. A file is read again when its inode, size or times change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int, int], str] = {}
        self._lock = threading.Lock()

    def of(self, path: str, status: os.stat_result) -> str:
        """Return the sha256 of a file as hexadecimal digits."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            known = self._known.get(key)
        if known is None:
            digest = hashlib.sha256()
            buffer = memoryview(bytearray(min(PIECE, status.st_size + 1)))
            with Path(path).open("rb", buffering=0) as f:
                while length := f.readinto(buffer):
                    digest.update(buffer[:length])
            known = digest.hexdigest()
            with self._lock:
                self._known[key] = known
        return known


def manifest(sources: Iterable[Source], directories: Iterable[str], checksums: Checksums) -> list[Entry]:
    """Return the entries of an attempt's directory, each name once. Raises MoveFailed for what cannot be sent."""
    entries = {name: Entry("", name, DIRECTORY) for name in directories if name != "."}
    for source in sources:
        for entry in _entries(source, checksums):
            entries[entry.name] = replace(entry, source=source.path)
    return list(entries.values())


def _entries(source: Source, checksums: Checksums) -> Iterator[Entry]:
    """Yield what is at one path of the controller. A link at this path itself is followed, as Snakemake does."""
    # `above` are the directories that contain the path. `top` is the innermost of them to which a link has led.
    queue: list[tuple[str, str, str, tuple[str, ...]]] = [(source.path, source.name, source.name, ())]
    while queue:
        path, name, top, above = queue.pop()
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(path)
                is_inner = name != source.name
                if is_inner and (_leads_inside(name, target, top) or not os.path.exists(path)):
                    yield Entry(path, name, LINK, target=target)
                    continue
                top = name
                status = os.stat(path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                real = os.path.realpath(path)
                if real in above:
                    raise MoveFailed("local", f"{path} is a link to a directory that contains it")
                yield Entry(path, name, DIRECTORY, mode, status.st_mtime_ns)
                here = (top, (*above, real))
                queue.extend((os.path.join(path, one), os.path.join(name, one), *here) for one in os.listdir(path))
            elif stat.S_ISREG(status.st_mode):
                kind = WRITABLE if source.writable else FILE
                sha = checksums.of(path, status)
                yield Entry(path, name, kind, mode, status.st_mtime_ns, status.st_size, sha)
            elif path == os.devnull:
                yield Entry(path, name, FILE, 0o644, 0, 0, hashlib.sha256().hexdigest())
            else:
                raise MoveFailed("local", f"{path} is a device, a pipe or a socket, which cannot be sent to a node")
        except OSError as error:
            raise MoveFailed("local", f"{path} cannot be read: {error.strerror or error}") from error


def _leads_inside(name: str, target: str, top: str) -> bool:
    """Return whether a link inside a directory leads to something in that directory."""
    whole = os.path.normpath(os.path.join(os.path.dirname(name), target))
    return not os.path.isabs(target) and (whole == top or whole.startswith(top + "/"))
