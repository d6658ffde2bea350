"""`.snakemake/harbor/fence/`: the files that the controller and agents exchange where no connection is needed.

There are three kinds of file, each named after an attempt:

- A fence (no suffix). The controller has given the attempt up. The agent or guardian that runs it ends it.
- An exit notice (`.word`). The agent wrote down how the attempt ended, because no controller was connected.
- A mark that the result is recorded (`.done`). Snakemake has recorded how the attempt ended, but the node could not be
  asked to forget it. When the node lists the attempt again, it is not taken as a new result.

`agent/fence.py` is the other end.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..core.model import JobId

FENCE_KEEP_S = 86400.0
"""A fence is for a node that was cut off. A node that still is after a day has lost its jobs long ago."""
NOTICE_KEEP_S = 30 * FENCE_KEEP_S
DONE = ".done"
NOTICE = ".word"
UNREADABLE_S = 10.0
"""An exit notice that is not JSON is read again for this long. After that it is ignored."""


class FenceDir:
    """The controller's end. No method raises an error if the directory cannot be read or written.

    `warn` is called once when a file cannot be written, and again after the next success and failure.
    """

    def __init__(self, path: Path, run: str, warn: Callable[[str], None] = lambda text: None) -> None:
        self.path = path
        self._run = run
        self._warn = warn
        self._warned = False
        self._read: set[str] = set()
        self._unreadable: dict[str, float] = {}
        self._unwritten: dict[str, tuple[JobId, int | None] | None] = {}

    def remove_old(self) -> None:
        """Remove files of earlier runs that nobody needs any more."""
        for old in self.old_files():
            remove(old)

    def old_files(self) -> Iterator[Path]:
        """Yield the files of earlier runs that nobody needs any more."""
        for path in self.path.glob("*"):
            keep = NOTICE_KEEP_S if path.suffix in (NOTICE, DONE) else FENCE_KEEP_S
            try:
                if time.time() - path.stat().st_mtime > keep:
                    yield path
            except OSError:
                # A node renames or removes its files at any time.
                continue

    # --- fences -----------------------------------------------------------------------------------------------

    def fence(self, job: JobId, attempt: int | None) -> bool:
        """Write the fence of an attempt; None stands for all attempts of the job.

        Returns False if the file cannot be written now. Then `write_missing` tries again.
        """
        name = _file_name(job, attempt)
        if self._touch(name):
            return True
        self._unwritten[name] = (job, attempt)
        return False

    def write_missing(self) -> list[tuple[JobId, int | None]]:
        """Write the files that could not be written before. Returns the fences that have been written now."""
        written = [self._unwritten.pop(name) for name in list(self._unwritten) if self._touch(name)]
        return [fence for fence in written if fence is not None]

    def is_fenced(self, job: JobId, attempt: int) -> bool:
        """Return whether this run or an earlier one has given the attempt up."""
        return any((self.path / _file_name(job, number)).exists() for number in (attempt, None))

    # --- exit notices -----------------------------------------------------------------------------------------

    def new_exit_notices(self) -> list[Any]:
        """Return the exit notices that no earlier call has returned. Each is one message of an agent, not checked.

        A file that cannot be read now is read again at the next call. It does not delay the others.
        """
        try:
            names = {path.name for path in self.path.iterdir() if path.suffix == NOTICE}
        except OSError:
            return []
        notices = []
        now = time.monotonic()
        for name in sorted(names - self._read):
            try:
                notices.append(json.loads((self.path / name).read_bytes()))
            except OSError:
                continue
            except (ValueError, RecursionError):
                # Agents rename files into place, but NFS may show the name before the content.
                if now - self._unreadable.setdefault(name, now) < UNREADABLE_S:
                    continue
            self._read.add(name)
            self._unreadable.pop(name, None)
        return notices

    def remove_exit_notices(self) -> None:
        """Remove the notices of this run, because Snakemake has recorded all results."""
        for path in self.path.glob(f"{self._run}.*{NOTICE}"):
            remove(path)

    # --- recorded results -------------------------------------------------------------------------------------

    def note_result_recorded(self, job: JobId, attempt: int, away: bool) -> None:
        """Note that Snakemake has recorded the result. `away`: the node is not connected, so it keeps its record."""
        name = _file_name(job, attempt)
        if away and not self._touch(name + DONE):
            self._unwritten[name + DONE] = None
        if name + NOTICE in self._read:
            remove(self.path / (name + NOTICE))

    def is_result_recorded(self, job: JobId, attempt: int) -> bool:
        """Return whether Snakemake had recorded the result while the attempt's node was not connected."""
        return (self.path / (_file_name(job, attempt) + DONE)).exists()

    def _touch(self, name: str) -> bool:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / name).touch()
        except OSError as error:
            if not self._warned:
                self._warned = True
                why = error.strerror or error
                self._warn(
                    f"{self.path} cannot be written ({why}). Lost jobs wait until it can; it is tried each second"
                )
            return False
        self._warned = False
        return True


def remove(path: Path) -> None:
    """Remove a file if that is possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # The filesystem is full, read-only or away. What is left does no harm: each run removes what is old.
        pass


def _file_name(job: JobId, attempt: int | None) -> str:
    return f"{job.replace('/', '.')}.{'all' if attempt is None else attempt}"
