"""The identity of a working directory: a random id in `.snakemake/harbor/id`.

Host names and the spelling of the path are no part of it: a laptop changes its name, a directory is reached through
links, and another machine takes over. The file holds its own inode number and its directory's. A copy of a project has
other ones, so it gets an id of its own; NFS shows the same numbers to every machine.
"""

import json
import os
import secrets
from pathlib import Path

NAME = "id"


def directory_id(directory: Path) -> str:
    """The id of `directory` (`.snakemake/harbor`), made if there is none. Processes that do so at once agree on one."""
    while True:
        found = read_id(directory)
        if found is not None:
            return found
        _bury(directory)
        write_id(directory, secrets.token_hex(16))


def read_id(directory: Path) -> str | None:
    """The id in `directory`; None if there is none, or it was copied from elsewhere, or the file is torn."""
    try:
        with (directory / NAME).open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            data = json.loads(file.read(4096))
        whole = data["inode"] == [inode, directory.stat().st_ino]
        return data["id"] if whole and isinstance(data["id"], str) and data["id"] else None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return None


def write_id(directory: Path, id: str) -> None:
    """Write the file, unless there is one. A hard link is the one creation that is atomic on every NFS."""
    draft = directory / f"{NAME}-{secrets.token_hex(6)}"
    try:
        with draft.open("x") as file:
            file.write(json.dumps({"id": id, "inode": [os.fstat(file.fileno()).st_ino, directory.stat().st_ino]}))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, directory / NAME)
    except FileExistsError:
        # Another controller was first: its id holds.
        pass
    finally:
        draft.unlink(missing_ok=True)


def _bury(directory: Path) -> None:
    """Take a file away that holds no id of this directory. One that another controller has written meanwhile stays."""
    grave = directory / f"{NAME}-{secrets.token_hex(6)}.old"
    try:
        (directory / NAME).rename(grave)
    except FileNotFoundError:
        return
    try:
        inode = json.loads(grave.read_bytes())["inode"]
        if inode == [grave.stat().st_ino, directory.stat().st_ino]:
            os.link(grave, directory / NAME)
    except (ValueError, TypeError, KeyError, FileExistsError):
        pass
    grave.unlink(missing_ok=True)
