"""Writes what comes back from a node. Nothing takes its place before everything has arrived.

A node is not trusted. It can write only what it was asked for: each path that it sends is checked, and a link that
leads out of the working directory is refused.
"""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .manifest import DIRECTORY, FILE, LINK
from .model import MoveFailed, Wanted

NAME_MAX = 255


class Arrival:
    """The targets of one attempt while they arrive.

    `skew_s` is how far the node's clock is ahead of ours. Links must not lead out of the directory `root`.
    """

    def __init__(self, targets: Sequence[Wanted], skew_s: float, root: str) -> None:
        self._targets = targets
        self._root = os.path.realpath(root)
        self._skew_ns = int(skew_s * 1e9)
        self._tops: dict[int, str] = {}
        self._directories: dict[tuple[int, str], tuple[str, int, int]] = {}
        self.files = 0
        self.bytes = 0
        self.sizes: dict[str, int] = {}

    def take(self, line: Any, pieces: Callable[[], Iterable[bytes]], checksum: Callable[[], Any]) -> None:
        """Write one entry. Raises MoveFailed or OSError."""
        number, inner, kind, mode, mtime_ns, size, target = _checked(line, len(self._targets))
        path = self._place(number, inner)
        whole = self._targets[number].path
        self.sizes[whole] = self.sizes.get(whole, 0) + size
        if kind == DIRECTORY:
            os.mkdir(path, 0o700)
            self._directories[(number, inner)] = (path, mode, mtime_ns)
        elif kind == LINK:
            self._check_link(number, inner, target)
            os.symlink(target, path)
        else:
            self._write(path, size, pieces(), checksum)
            os.chmod(path, mode & 0o777)
            self._set_time(path, mtime_ns)

    def finish(self) -> tuple[Wanted, ...]:
        """Move everything to its place. Returns the targets that have not come."""
        for path, mode, mtime_ns in reversed(self._directories.values()):
            os.chmod(path, mode & 0o777)
            self._set_time(path, mtime_ns)
        for number, part in self._tops.items():
            path = self._targets[number].path
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            elif os.path.lexists(path) and os.path.isdir(part) and not os.path.islink(part):
                os.unlink(path)
            os.rename(part, path)
        self._tops, missing = {}, [t for n, t in enumerate(self._targets) if n not in self._tops]
        return tuple(missing)

    def undo(self) -> None:
        """Remove what has arrived."""
        for part in self._tops.values():
            _remove(part)

    def _place(self, number: int, inner: str) -> str:
        """Return where an entry is written: beside its target, or below a directory that has arrived before it."""
        if not inner:
            if number in self._tops:
                raise MoveFailed("unsafe", f"the node has sent {self._targets[number].name} twice")
            part = part_of(self._targets[number].path)
            os.makedirs(os.path.dirname(part) or ".", exist_ok=True)
            _remove(part)
            self._tops[number] = part
            return part
        above, _, name = inner.rpartition("/")
        parent = self._directories.get((number, above))
        if parent is None or name in ("", ".", ".."):
            raise MoveFailed("unsafe", f"the node has sent the path {inner!r} for {self._targets[number].name}")
        path = os.path.join(parent[0], name)
        if os.path.lexists(path):
            raise MoveFailed("unsafe", f"the node has sent the path {inner!r} twice")
        return path

    def _check_link(self, number: int, inner: str, target: str) -> None:
        name = os.path.join(self._targets[number].name, inner) if inner else self._targets[number].name
        whole = os.path.normpath(os.path.join(os.path.dirname(name), target))
        if os.path.isabs(target) or not target or whole.split("/")[0] == "..":
            raise MoveFailed("unsafe", f"{name} is a link that leads out of the working directory, to {target!r}")
        # After a name, `..` leads to the parent of what that name is a link to. So the text alone does not say where.
        steps = [step for step in target.split("/") if step not in ("", ".")]
        if ".." in steps[next((n for n, step in enumerate(steps) if step != ".."), len(steps)) :]:
            raise MoveFailed("unsafe", f"{name} is a link with `..` after a name, to {target!r}, which may lead out")
        # A directory above it may be a link here, so the text of the name does not say where it is, either.
        path = self._targets[number].path
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path), inner).rstrip("/")
        end = os.path.normpath(os.path.join(os.path.dirname(real), target))
        if end != self._root and not end.startswith(self._root.rstrip("/") + "/"):
            raise MoveFailed("unsafe", f"{name} is a link that leads out of the working directory, to {target!r}")

    def _write(self, path: str, size: int, pieces: Iterable[bytes], checksum: Callable[[], Any]) -> None:
        digest, written = hashlib.sha256(), 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "wb", 0) as f:
            for data in pieces:
                written += len(data)
                if written > size:
                    raise MoveFailed("unsafe", f"the node has sent more of {path} than it has announced")
                digest.update(data)
                if data.startswith(b"\0") and data.count(0) == len(data):
                    f.seek(len(data), os.SEEK_CUR)  # a hole
                else:
                    _write_all(f, data)
            f.truncate(written)
        if checksum() != digest.hexdigest() or written != size:
            raise MoveFailed("changed", f"{path} has changed while it was fetched")
        self.files += 1
        self.bytes += written

    def _set_time(self, path: str, mtime_ns: int) -> None:
        """Set the time of the last change by our clock. It is not in the future, because make and Snakemake compare."""
        mtime_ns = max(0, min(mtime_ns - self._skew_ns, time.time_ns()))
        os.utime(path, ns=(mtime_ns, mtime_ns))


def part_of(path: str) -> str:
    """Return the name of a file while it arrives. It is always the same, so that none is left for long."""
    directory, name = os.path.split(path)
    if len(os.fsencode(name)) > NAME_MAX - 20:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return os.path.join(directory, f".{name}.harbor-part")


def _checked(line: Any, count: int) -> tuple[int, str, str, int, int, int, str]:
    """Return the values of an entry. Raises MoveFailed if they are not of the right types and within their bounds."""
    types = (int, str, str, int, int, int, str)
    if not isinstance(line, list) or len(line) != 7 or any(type(v) is not t for v, t in zip(line, types, strict=True)):
        raise MoveFailed("unsafe", f"the node has sent an entry that makes no sense: {str(line)[:200]}")
    number, inner, kind, mode, mtime_ns, size, target = line
    whole = 0 <= number < count and kind in (FILE, DIRECTORY, LINK) and size >= 0 and abs(mtime_ns) < 1 << 63
    if not whole or "\0" in inner + target or not 0 <= mode < 1 << 16:
        raise MoveFailed("unsafe", f"the node has sent an entry that makes no sense: {str(line)[:200]}")
    return number, inner, kind, mode, mtime_ns, size, target


def _write_all(f: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[f.write(view) :]


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        for top, names, _ in os.walk(path):
            for name in names:
                inner = os.path.join(top, name)
                if not os.path.islink(inner):
                    with contextlib.suppress(OSError):
                        os.chmod(inner, 0o700)
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)
