"""Bounds of a start message: long scripts are moved into files, and anything else that is too long fails the job.

The files lie in the shared working directory. They are deleted with the job's other temporary files
(`InFlightJob.temp_files`).
"""

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..core.codec import MAX_LINE, Message, encode
from ..errors import HarborError

DIRECTORY = Path(".snakemake", "harbor", "start")
LONG_SCRIPTS = 128 << 10
"""Characters. Longer scripts are written to files."""
SURELY_FITS = 64 << 10
"""Characters. A message with fewer is below MAX_LINE, even if each of them takes 12 bytes in JSON."""
MAX_VARIABLE = 128 << 10
"""Bytes of one environment variable with its name. Linux starts no program with a longer one (MAX_ARG_STRLEN)."""
SOURCING = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
"""Shells in which `. FILE` runs a file as if its text had been given with -c."""


def shorten(scripts: Sequence[str], shell: str | None, name: str) -> tuple[list[str], list[str]]:
    """Return (scripts, files). Long scripts are written to files, and replaced by scripts that source these files.

    The names of the files begin with `name`.
    """
    if sum(map(len, scripts)) <= LONG_SCRIPTS or Path(shell or "sh").name not in SOURCING:
        return list(scripts), []
    short, files = [], []
    for number, script in enumerate(scripts):
        files.append(write(script + "\n", f"{name}.{number}.sh"))
        short.append(f". {shlex.quote(files[-1])}")
    return short, files


def write(text: str, name: str) -> str:
    """Write a file of an attempt, and return its absolute path."""
    path = (DIRECTORY / name).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return str(path)


def remove_all() -> None:
    """Remove all files, because no job needs them any more."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)


def check_size(message: Message) -> None:
    """Raise HarborError for a `start` message that is too long for any node."""
    env = {name: value for name, value in message["env"].items() if value is not None}
    what = f"job {message['name']} cannot be started on any node"
    for name, value in env.items():
        size = len(os.fsencode(name)) + len(value.encode("utf-8", "surrogateescape")) + 2
        if size > MAX_VARIABLE:
            raise HarborError(
                f"{what}: its environment variable {name} has {size} bytes, and Linux takes at most {MAX_VARIABLE} in "
                "one variable. Write the value to a file, and pass the name of that."
            )
    parts = {f"the environment variable {name}": len(value) for name, value in env.items()}
    parts |= {"its command": sum(map(len, message["scripts"]))}
    parts |= {f"`{name}`": len(str(message[name])) for name in ("progress", "needs", "meta", "name", "cwd", "log")}
    if sum(parts.values()) <= SURELY_FITS:
        return
    size = len(encode(message))
    if size > MAX_LINE:
        largest = max(parts, key=parts.__getitem__)
        raise HarborError(
            f"{what}: the message that starts it has {size} bytes, and a node takes at most {MAX_LINE}. The largest "
            f"part is {largest} ({parts[largest]} characters). Write long lists to a file, and pass the name of that."
        )
