"""Shadow directories that do not contain each other.

For `shadow: "full"` Snakemake copies the tree of the working directory. It leaves out `.snakemake`, but it walks
through it and follows links on the way. Each shallow shadow directory contains a link to `.snakemake`, where all shadow
directories are. With two of them there are 2 to the power of 40 paths, because the kernel follows 40 links, so the walk
does not end. The local executor has the same fault, but it seldom prepares as many jobs at once.

So the functions `os.walk` and `os.symlink` are replaced in Snakemake's module `jobs`, which calls both only to make
shadow directories. The shadow directories of local rules are made in the same way.
"""

import os
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .contract import Feature
from .verify import has

SNAKEMAKE = ".snakemake"
SHADOW = "shadow"


def install(workflow: Any) -> None:
    """Replace both functions, once per process."""
    if has(Feature.SHADOW):
        _install(str(workflow.persistence.shadow_path))


@cache
def _install(shadow_path: str) -> None:
    """`shadow_path` is the directory of all shadow directories."""
    import snakemake.jobs

    stand_in = types.ModuleType("os")
    stand_in.__dict__.update(os.__dict__)

    def walk(top: Any, topdown: bool = True, onerror: Any = None, followlinks: bool = False) -> Any:
        return tree(top, shadow_path) if followlinks else os.walk(top, topdown, onerror, followlinks)

    stand_in.walk = walk  # type: ignore[attr-defined]
    stand_in.symlink = link  # type: ignore[attr-defined]
    module: Any = snakemake.jobs
    module.os = stand_in


def tree(top: str, shadow_path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk(top, followlinks=True)` without Snakemake's own directories. It always ends.

    A link to a directory that contains the link counts as a file, so a link to the original is made in its place.
    """
    hidden = {_identity(shadow_path), _identity(os.path.join(top, SNAKEMAKE))}
    waiting: list[tuple[str, tuple[tuple[int, int] | None, ...]]] = [(top, (_identity(top),))]
    while waiting:
        path, above = waiting.pop()
        directories: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(path) as entries:
                found = list(entries)
        except OSError:
            continue  # like os.walk
        for entry in found:
            identity = _identity(entry.path) if _is_directory(entry) else None
            if entry.name == SNAKEMAKE or (identity is not None and identity in hidden):
                continue
            if identity is None or (entry.is_symlink() and identity in above):
                files.append(entry.name)
            else:
                directories.append(entry.name)
                waiting.append((entry.path, (*above, identity)))
        yield path, directories, files


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def link(source: Any, target: Any, *args: Any, **options: Any) -> None:
    """`os.symlink`, but for `.snakemake` it makes a directory with links to everything except the shadow directories.

    So a walk through a shallow shadow directory, also on a node, does not reach the other shadow directories.
    """
    if Path(target).name != SNAKEMAKE or not os.path.isdir(source):
        os.symlink(source, target, *args, **options)
        return
    os.mkdir(target)
    for name in os.listdir(source):
        if name != SHADOW:
            os.symlink(os.path.join(os.path.abspath(source), name), os.path.join(target, name))
