"""What runs have left on this machine, for `harbor clean`: journals, logs of jobs, fences and locks.

What a run needs that goes on, or that the next run continues, stays. The logs of such a run are those that its journal
names.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import HarborError
from .directory_id import read_id
from .fence_dir import FenceDir, remove
from .journal_reader import open_journal
from .run_directories import JOURNAL
from .run_list import RunSummary, all_runs, place_of
from .workdir import Workdir, new_run, read_lock

LOG = re.compile(r"[0-9a-f-]+\.[0-9]+\.log")
"""Logs of jobs are named JOBID.ATTEMPT.log. Other files may lie in the directory for logs."""
UNFINISHED = "the last run is not complete, and the next one continues it"


@dataclass(frozen=True)
class Leftover:
    """Files of one kind below `where`. `kept` is the reason why they stay, or "" if they may be removed."""

    kind: str
    where: str
    paths: tuple[Path, ...]
    bytes: int
    kept: str = ""


class Leftovers:
    """The leftovers of one working directory, and with `everywhere` the journals of this user's other directories.

    `id` is the directory's id, or None if there was no run. `goes_on` is the run whose controller works here, or "".
    `needed` is the reason why the last run is needed, or "".
    """

    def __init__(self, workdir: Path, everywhere: bool = False, own: str = "") -> None:
        """`own` is the name under which the caller itself has locked the directory."""
        self.workdir = workdir
        self._everywhere = everywhere
        self._harbor = workdir / ".snakemake" / "harbor"
        self.id = read_id(self._harbor) if self._harbor.is_dir() else None
        self._runs = all_runs()
        place = place_of(workdir)
        self._mine = [run for run in self._runs if run.is_of(*place)]
        lock = read_lock(self._harbor / "lock")
        self.goes_on = lock[0].run if lock and lock[0].run != own and lock[0].alive(lock[1]) else ""
        self.needed = f"run {self.goes_on} goes on" if self.goes_on else UNFINISHED if self._is_unfinished() else ""

    def _is_unfinished(self) -> bool:
        try:
            return json.loads((self._harbor / "run.json").read_bytes()).get("complete") is not True
        except FileNotFoundError:
            return False
        except (OSError, ValueError, AttributeError):
            return True

    def find(self) -> list[Leftover]:
        """Return the leftovers."""
        found = [*self._journals(), *self._logs()]
        if not self.goes_on and self._harbor.is_dir():
            found += _group("fences", self._harbor / "fence", list(FenceDir(self._harbor / "fence", "").old_files()))
            locks = [path for name in ("lock", "lock-*", "probe-*") for path in self._harbor.glob(name)]
            found += _group("locks", self._harbor, locks)
        return found

    def _journals(self) -> Iterator[Leftover]:
        kept: dict[str, list[Path]] = {}
        last = {run.id: run for run in self._runs if run not in self._mine}
        for run in self._runs if self._everywhere else self._mine:
            reason = f"run {run.run} goes on" if run.is_running else ""
            if run in self._mine[-1:]:
                reason = reason or self.needed
            elif run is last.get(run.id) and not run.is_complete and os.path.exists(run.resolved):
                reason = reason or f"the last run of {run.workdir} is not complete"
            kept.setdefault(reason, []).append(run.directory)
        for reason, directories in kept.items():
            yield from _group("journals", directories[0].parent, directories, reason)

    def _logs(self) -> Iterator[Leftover]:
        needed = self._needed_logs() if self.needed else set()
        for directory in sorted({os.path.realpath(self.workdir / run.log_dir) for run in self._mine}):
            # In a directory that the user has named, files of others may have such names, too.
            private = Path(directory).is_relative_to(os.path.realpath(self.workdir / ".snakemake"))
            ours = None if private else set[str]().union(*map(self._named_logs, self._mine))
            free: list[Path] = []
            kept: list[Path] = []
            for place, _, files in os.walk(directory):
                for path in (f"{place}/{name}" for name in files if LOG.fullmatch(name)):
                    if ours is None or path in ours:
                        (kept if needed is None or path in needed else free).append(Path(path))
            yield from _group("logs", Path(directory), free)
            yield from _group("logs", Path(directory), kept, self.needed)

    def _needed_logs(self) -> set[str] | None:
        """Return the logs that the last run's journal names. None: all logs are needed.

        The last run may have been one on another machine, which has its journal.
        """
        try:
            last = json.loads((self._harbor / "run.json").read_bytes())["run"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if self.goes_on or not self._mine or self._mine[-1].run != last:
            return None
        return self._named_logs(self._mine[-1]) or None

    def _named_logs(self, run: RunSummary) -> set[str]:
        """Return the real paths of the logs that a run's journal names, or nothing if it cannot be read."""
        try:
            rows = open_journal(run.run, run.directory / JOURNAL, self.workdir).rows("SELECT log FROM jobs")
        except HarborError:
            return set()
        real = cache(os.path.realpath)
        logs = [os.path.split(row["log"]) for row in rows if row["log"]]
        return {f"{real(directory)}/{name}" for directory, name in logs}


def remove_leftovers(
    workdir: Path, everywhere: bool = False, on_nodes: Callable[[Leftovers], object] = lambda found: None
) -> None:
    """Remove what is not needed. `on_nodes` does so on the nodes. No run can begin in the directory meanwhile.

    Raises HarborError if a controller has just begun to work in the directory.
    """
    found = Leftovers(workdir, everywhere)
    if found.goes_on or found.id is None:
        _remove([item for item in found.find() if not item.kept])
        on_nodes(found)
        return
    before = [item for item in found.find() if item.kind in ("fences", "locks")]
    with _locked(workdir) as run:
        found = Leftovers(workdir, everywhere, run)
        rest = [item for item in found.find() if item.kind in ("journals", "logs")]
        for path in [path for item in before for path in item.paths if path.name != "lock"]:
            remove(path)
        _remove([item for item in rest if not item.kept])
        on_nodes(found)


@contextmanager
def _locked(workdir: Path) -> Iterator[str]:
    """Hold the directory's lock. To take it and to release it removes the lock of a controller that is dead."""
    held = Workdir(workdir, new_run())
    held.acquire()
    try:
        yield held.run
    finally:
        held.release()


def _remove(found: list[Leftover]) -> None:
    for item in found:
        for path in item.paths:
            if item.kind == "journals":
                shutil.rmtree(path, ignore_errors=True)
            else:
                remove(path)
        if item.kind == "logs":
            for place, _, _ in os.walk(item.where, topdown=False):
                _remove_empty(place)


def _remove_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        # It is not empty.
        pass


def _group(kind: str, where: Path, paths: Sequence[Path], kept: str = "") -> list[Leftover]:
    return [Leftover(kind, str(where), tuple(paths), sum(map(_size, paths)), kept)] if paths else []


def _size(path: Path) -> int:
    """Return the bytes of a file, or of the files in a directory."""
    try:
        if path.is_dir():
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file(follow_symlinks=False))
        return path.stat().st_size
    except OSError:
        return 0
