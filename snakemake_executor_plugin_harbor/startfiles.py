"""Files in the shared working directory that carry what is too long for a command line or for a `start` message.

They belong to one job and are deleted with its other temporary files (`Entry.litter`).
"""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .core.protocol import MAX_LINE, Message, encode
from .errors import HarborError

DIRECTORY = Path(".snakemake", "harbor", "start")
MANY_FILES = 20
"""RemoteExecutor of Snakemake's interface also writes a file from here on."""
LONG_SCRIPTS = 128 << 10
"""Characters. Longer scripts are written to files."""
SUSPICIOUS = 64 << 10
"""Characters. Even if each takes 12 bytes in JSON, such a message is below MAX_LINE."""
MAX_VARIABLE = 128 << 10
"""Bytes of one environment variable with its name: Linux starts no program with a longer one (MAX_ARG_STRLEN)."""
SOURCING = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh"})
"""Shells for which `. FILE` runs a file as if its text had been given with -c."""


def wait_list(run: str, job: Any) -> Path:
    """The file with the names of the inputs that the node's Snakemake waits for."""
    return (DIRECTORY / f"{run}.{job.jobid}.inputs").absolute()


def write_wait_list(run: str, job: Any, names: Iterable[str]) -> Path:
    """Write that file. Snakemake strips each line, so names with blanks around them, or with line breaks in them, are
    left out: their jobs start without the wait.
    """
    path = wait_list(run, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [name for name in names if name == name.strip() and len(name.splitlines()) == 1]
    path.write_text("".join(f"{name}\n" for name in lines), errors="surrogateescape")
    return path


def shorten(scripts: Sequence[str], shell: str | None, name: str) -> tuple[list[str], list[str]]:
    """The scripts, or scripts that source them from files if they are long; and the files, called after `name`."""
    if sum(map(len, scripts)) <= LONG_SCRIPTS or Path(shell or "sh").name not in SOURCING:
        return list(scripts), []
    short, files = [], []
    for number, script in enumerate(scripts):
        path = (DIRECTORY / f"{name}.{number}.sh").absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script + "\n", encoding="utf-8", errors="surrogateescape")
        files.append(str(path))
        short.append(f". {shlex.quote(str(path))}")
    return short, files


def check(message: Message) -> None:
    """Raise HarborError for a `start` message that no node takes."""
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
    if sum(parts.values()) <= SUSPICIOUS:
        return
    size = len(encode(message))
    if size > MAX_LINE:
        largest = max(parts, key=parts.__getitem__)
        raise HarborError(
            f"{what}: the message that starts it has {size} bytes, and a node takes at most {MAX_LINE}. The largest "
            f"part is {largest} ({parts[largest]} characters). Write long lists to a file, and pass the name of that."
        )
