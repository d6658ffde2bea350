"""The identity of a working directory: a random id in `.snakemake/harbor/id`.

Host names and the spelling of the path are not part of it, because a laptop changes its name, a directory is reached
through links, and another machine continues the work. The file contains its own inode number and the directory's. A
copy of a project has other inode numbers, so it gets an id of its own. NFS shows the same numbers to every machine.
"""

import json
import os
import secrets
from pathlib import Path

NAME = "id"


def directory_id(directory: Path) -> str:
    """Return the id of `directory` (`.snakemake/harbor`), which is made if there is none.

    Processes that call this at the same time return the same id.
    """
    while True:
        found = read_id(directory)
        if found is not None:
            return found
        _remove_invalid(directory)
        write_id(directory, secrets.token_hex(16))


def read_id(directory: Path) -> str | None:
    """Return the id in `directory`, or None if there is no file, if it is a copy, or if it is damaged."""
    try:
        with (directory / NAME).open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            data = json.loads(file.read(4096))
        valid = data["inode"] == [inode, directory.stat().st_ino]
        return data["id"] if valid and isinstance(data["id"], str) and data["id"] else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None


def write_id(directory: Path, id: str) -> None:
    """Write the file, unless there is one. A hard link is the one way of creation that is atomic on every NFS."""
    draft = directory / f"{NAME}-{secrets.token_hex(6)}"
    try:
        with draft.open("x") as file:
            file.write(json.dumps({"id": id, "inode": [os.fstat(file.fileno()).st_ino, directory.stat().st_ino]}))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, directory / NAME)
    except FileExistsError:
        # Another controller was faster, so its id counts.
        pass
    finally:
        draft.unlink(missing_ok=True)


def _remove_invalid(directory: Path) -> None:
    """Remove a file that does not contain an id of this directory.

    The file is renamed before it is examined. If another controller has replaced it by a valid one in the meantime, it
    is put back.
    """
    aside = directory / f"{NAME}-{secrets.token_hex(6)}.old"
    try:
        (directory / NAME).rename(aside)
    except FileNotFoundError:
        return
    try:
        inode = json.loads(aside.read_bytes())["inode"]
        if inode == [aside.stat().st_ino, directory.stat().st_ino]:
            os.link(aside, directory / NAME)
    except (ValueError, TypeError, KeyError, FileExistsError):
        pass
    aside.unlink(missing_ok=True)
