"""The directories of this user's runs on this machine, `/var/tmp/harbor-UID/runs/RUN/`, and the summary in each.

A directory contains the journal, the control socket while the run goes on, and a summary of a few facts. To open a
journal takes 1 ms, and to read a summary takes 0.05 ms, so `harbor history` reads the summaries of hundreds of runs.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import HarborError

JOURNAL = "journal.sqlite"
SUMMARY = "summary.json"
FACTS = ("run", "workdir", "resolved", "id", "owner", "state", "started", "ended", "total", "log_dir")
"""The facts of a run that its summary repeats."""
_NAME = re.compile(r"[0-9]{6}-[0-9]{6}-[0-9a-f]{6}")


def private_directory(path: Path) -> Path:
    """Return the directory, which is made with mode 0700 if there is none.

    Raises HarborError if it is a link or another user's, because everybody may write to /var/tmp.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise HarborError(
            f"{path} is a link or belongs to another user, so harbor does not write its journal there.",
            f"ls -ld {path}",
        )
    path.chmod(0o700)
    return path


def runs_directory() -> Path:
    """Return the directory that contains the journals of this user's runs."""
    return private_directory(private_directory(Path(f"/var/tmp/harbor-{os.getuid()}")) / "runs")


def run_names(runs: Path) -> list[str]:
    """Return the names of the runs, the oldest first. Names begin with the time, so nothing but the names is read."""
    try:
        return sorted(name for name in os.listdir(runs) if _NAME.fullmatch(name))
    except OSError:
        return []


def write_summary(directory: Path, facts: Mapping[str, Any], counts: Mapping[str, int]) -> None:
    """Write the summary of a run: some of its facts, and how many jobs are in which state. Raises OSError."""
    summary = {key: facts.get(key) for key in FACTS} | {"counts": dict(counts)}
    draft = directory / f"{SUMMARY}.new"
    draft.write_text(json.dumps(summary))
    draft.replace(directory / SUMMARY)
