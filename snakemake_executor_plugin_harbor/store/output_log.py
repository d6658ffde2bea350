"""`.snakemake/harbor/output.log`: the output of a run that has no terminal.

Either `harbor start` has begun the run with it, or the run has lost its terminal. In the second case, the first line
names the run, and the text of Snakemake's own log follows it.
"""

import os
import shutil
import time
from pathlib import Path

from .journal_reader import JournalReader


def output_log(workdir: Path) -> Path:
    """Return the path of the file in a working directory."""
    return workdir / ".snakemake" / "harbor" / "output.log"


def open_output_log(workdir: Path) -> int:
    """Begin the file anew, and return a descriptor of it. Several processes may write to it at the same time."""
    path = output_log(workdir)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)


def continue_in_output_log(workdir: Path, run: str, log: Path | None) -> int:
    """Begin the file for a run that has lost its terminal, with the text of `log`, which is Snakemake's own log."""
    number = open_output_log(workdir)
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(f"{_headline(run)} at {time.strftime('%F %T')}. Its output so far is that of {log}:\n".encode())
        file.flush()
        if log is not None and log.exists():
            with log.open("rb") as earlier:
                shutil.copyfileobj(earlier, file)
    return number


def is_output_log(workdir: Path) -> bool:
    """Return whether the standard error of this process goes to the file."""
    try:
        return os.path.samestat(output_log(workdir).stat(), os.fstat(2))
    except OSError:
        return False


def output_of(reader: JournalReader) -> Path | None:
    """Return the file with the output of a run. If it has a terminal, this is Snakemake's own log."""
    facts, path = reader.facts(), output_log(reader.workdir)
    if facts.get("output"):
        return path
    try:
        with path.open("rb") as file:
            if file.readline(200).startswith(_headline(reader.run).encode()):
                return path
    except OSError:
        pass
    return Path(facts["log"]) if facts.get("log") else None


def _headline(run: str) -> str:
    return f"harbor: run {run} has lost its terminal"
