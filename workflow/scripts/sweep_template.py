"""Check that each case can have a copy of the template, and list the files that Snakemake watches.

This module runs in Snakemake's own process while the Snakefile is read. It raises SweepError only.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sweep_cases import SweepError

SPECIAL = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def check_template(where: str, template: str, results: str) -> None:
    """Refuse a template that cannot be copied, or whose copies would share files with it or with other cases."""
    if not Path(template).is_dir():
        raise SweepError(f"{where}: there is no directory {Path(template).absolute()}")
    root, home = Path(template).resolve(), Path(results).resolve()
    if home.parent.is_relative_to(root):
        raise SweepError(f"{where}: {template!r} holds results/, which would be copied into itself")
    if root.is_relative_to(home):
        raise SweepError(f"{where}: {template!r} lies in {results}, which the sweep itself writes")
    try:
        for path, mode in _walk(template):
            if stat.S_IFMT(mode) in SPECIAL:
                kind = SPECIAL[stat.S_IFMT(mode)]
                raise SweepError(f"{where}: {path} is {kind}; only files, directories and links can be copied")
            if stat.S_ISLNK(mode):
                _check_link(where, path, root, home)
            elif not os.access(path, os.R_OK):
                raise SweepError(f"{where}: {path} cannot be read\n  Try: chmod u+r {path}")
    except OSError as error:
        raise SweepError(f"{where}: {error.filename} cannot be read: {error.strerror}") from error


def _check_link(where: str, path: str, root: Path, home: Path) -> None:
    """Refuse a link through which a case could write to the template or to the results.

    A link that leads into the template is allowed, because in a copy it leads into the copy.
    """
    target = Path(os.path.realpath(path))
    if target == root or target.is_relative_to(root):
        return
    for inner, name in ((root, "the template itself"), (home, "the results of this sweep")):
        if inner.is_relative_to(target) or target.is_relative_to(inner):
            raise SweepError(
                f"{where}: the link {path} leads to {target}, through which every case could write to {name}\n"
                "  Try: let it lead to the directory or file that the cases need"
            )


def template_files(template: str) -> list[str]:
    """Return the files that Snakemake can watch, in order. It would take braces in a path for wildcards."""
    return [path for path, mode in _walk(template) if _has_content(path, mode) and _can_be_input(path)]


def template_listing(template: str) -> str:
    """Return a digest of what no watched content shows: names, kinds, targets of links, run bits, files with braces."""
    digest = hashlib.sha256()
    for path, mode in _walk(template):
        link = os.readlink(path) if stat.S_ISLNK(mode) else ""
        content = ""
        if not _can_be_input(path) and _has_content(path, mode):
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        entry = (os.path.relpath(path, template), stat.S_IFMT(mode), link, bool(mode & stat.S_IXUSR), content)
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _can_be_input(path: str) -> bool:
    return "{" not in path and path.isprintable()


def _has_content(path: str, mode: int) -> bool:
    return not stat.S_ISDIR(mode) and Path(path).is_file()


def _walk(template: str) -> Iterator[tuple[str, int]]:
    def fail(error: OSError) -> None:
        raise error

    for directory, folders, files in os.walk(template, onerror=fail):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(directory, name)
            yield path, os.lstat(path).st_mode
