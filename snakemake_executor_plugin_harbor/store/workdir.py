"""A working directory's `.snakemake/harbor/`: the lock, the pointer to the journal, the shared-filesystem probe."""

import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..core.model import JobId
from ..errors import HarborError
from .directory_id import directory_id, write_id

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A lock of another machine whose heartbeat is older than this is that of a dead controller."""
FENCE_KEEP_S = 86400.0
WORD_KEEP_S = 30 * FENCE_KEEP_S
DONE = ".done"
"""Such a file stands for an attempt whose end Snakemake knows, while its node could not be told to forget it."""
WORD = ".word"
"""The agent's `leave_exit_notice` makes such files: how an attempt ended while nobody could be told."""
UNREADABLE_S = 10.0
"""A notice of an end that is no JSON is read again for this long. Then it is put aside."""


@dataclass(frozen=True)
class Owner:
    """The controller that holds a lock."""

    host: str
    pid: int
    born: float
    boot_id: str
    run: str

    def alive(self, heartbeat: float) -> bool:
        """On this machine the process table knows; from elsewhere only the heartbeat tells. (Another boot id under our
        name is this machine before its reboot, or another one that is called so.)
        """
        if (self.host, self.boot_id) != (socket.gethostname(), boot_id()):
            return time.time() - heartbeat < STALE_S
        try:
            return abs(psutil.Process(self.pid).create_time() - self.born) < 2.0
        except psutil.Error:
            return False


def boot_id() -> str:
    """Changes with every boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(psutil.boot_time())


def new_run() -> str:
    """A name for a run: sortable by time, unique over controllers."""
    return time.strftime("%y%m%d-%H%M%S-") + secrets.token_hex(3)


class Workdir:
    """`.snakemake/harbor/` of one working directory, held by one controller at a time."""

    def __init__(self, workdir: Path, run: str, warn: Callable[[str], None] = lambda text: None) -> None:
        self.workdir = workdir
        self.run = run
        self.directory = workdir / ".snakemake" / "harbor"
        self.lock = self.directory / "lock"
        self.pointer = self.directory / "run.json"
        self.probe = self.directory / f"probe-{run}"
        self.fences = self.directory / "fence"
        self.token = secrets.token_hex(16)
        self.started = time.time()
        self.unfinished = False
        self.id = ""
        self._warn = warn
        self._warned = False
        self._heard: set[str] = set()
        self._unreadable: dict[str, float] = {}
        self._unwritten: dict[str, tuple[JobId, int | None] | None] = {}
        self._journal: Path | None = None
        self._beat = 0.0

    def acquire(self) -> None:
        """Take the lock. Raises HarborError while another controller works in this directory, or if it cannot be
        written.
        """
        try:
            self._acquire()
        except OSError as error:
            raise HarborError(
                f"{self.directory} cannot be written: {error.strerror or error}.", f"df -h {self.workdir}"
            ) from error

    def _acquire(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock()
        self.id = directory_id(self.directory)
        self.unfinished = _unfinished(self.pointer)
        for old in self.directory.glob("probe-*"):
            old.unlink(missing_ok=True)
        for old in self.fences.glob("*"):
            # A fence is for a node that was cut off; one that still is after a day has lost its jobs long ago.
            keep = WORD_KEEP_S if old.suffix in (WORD, DONE) else FENCE_KEEP_S
            try:
                if time.time() - old.stat().st_mtime > keep:
                    old.unlink(missing_ok=True)
            except OSError:
                # A node renames or removes its files at any time.
                continue
        self.probe.write_text(self.token)

    def _lock(self) -> None:
        me = Owner(socket.gethostname(), os.getpid(), psutil.Process().create_time(), boot_id(), self.run)
        mine = self.directory / f"lock-{self.run}"
        with mine.open("w") as file:
            file.write(json.dumps(me.__dict__ | {"inode": os.fstat(file.fileno()).st_ino}))
        try:
            while not self._link(mine):
                self._bury()
        finally:
            mine.unlink(missing_ok=True)

    def _link(self, mine: Path) -> bool:
        """A hard link is the one creation that is atomic on every NFS."""
        try:
            os.link(mine, self.lock)
        except FileExistsError:
            return False
        return True

    def _bury(self) -> None:
        """Take a dead controller's lock away. Raises HarborError if it lives."""
        found = read_lock(self.lock)
        if found is not None and found[0].alive(found[1]):
            raise self._refusal(found[0])
        grave = self.directory / f"lock-{self.run}.old"
        try:
            self.lock.rename(grave)
        except FileNotFoundError:
            return
        taken = read_lock(grave)
        if taken is not None and (found is None or taken[0] != found[0]):
            # Another controller buried the dead one first: this is its lock.
            self._link(grave)
        grave.unlink(missing_ok=True)

    def _refusal(self, owner: Owner) -> HarborError:
        return HarborError(
            f"another harbor controller (process {owner.pid} on {owner.host}, run {owner.run}) works in "
            f"{self.workdir}; two would start every job twice.",
            "harbor status   # or wait for it to end",
        )

    def point_to(self, journal: Path, complete: bool = False) -> None:
        """Tell the `harbor` command where this run's journal is, and the next run whether this one left jobs behind."""
        self._journal = journal
        facts = {"run": self.run, "journal": str(journal), "host": socket.gethostname(), "complete": complete}
        temporary = self.pointer.with_suffix(".new")
        temporary.write_text(json.dumps(facts))
        temporary.replace(self.pointer)

    def beat(self) -> None:
        """Show controllers on other machines that this one lives. Raises HarborError if one of them has taken over, as
        it may when this one slept.
        """
        now = time.time()
        if 0 <= now - self._beat < HEARTBEAT_S and os.path.lexists(self.lock):
            return
        self._beat = now
        found = read_lock(self.lock)
        if found is not None and found[0].run != self.run:
            raise self._refusal(found[0])
        try:
            if found is None and not self.lock.exists():
                self._restore()
            os.utime(self.lock)
        except OSError:
            # A full or unreachable filesystem is the jobs' trouble, not a reason to stop here.
            pass

    def _restore(self) -> None:
        """Somebody deleted `.snakemake` while we work here: put back what nodes and other controllers look for. Raises
        HarborError if another controller was faster.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock()
        write_id(self.directory, self.id)
        self.probe.write_text(self.token)
        if self._journal is not None:
            self.point_to(self._journal)

    def fence(self, job: JobId, attempt: int | None) -> bool:
        """Tell the node that runs an attempt (None: any of the job), wherever it is, that this was given up. False: the
        file cannot be written now; `retry` tries again.

        Agents look for these files: `obey_fence`.
        """
        name = _fence_name(job, attempt)
        if self._touch(name):
            return True
        self._unwritten[name] = (job, attempt)
        return False

    def retry(self) -> list[tuple[JobId, int | None]]:
        """Write the fences that could not be written before; those that are there now."""
        written = [self._unwritten.pop(name) for name in list(self._unwritten) if self._touch(name)]
        return [fence for fence in written if fence is not None]

    def _touch(self, name: str) -> bool:
        try:
            self.fences.mkdir(parents=True, exist_ok=True)
            (self.fences / name).touch()
        except OSError as error:
            if not self._warned:
                self._warned = True
                why = error.strerror or error
                self._warn(
                    f"{self.fences} cannot be written ({why}). Lost jobs wait until it can; it is tried each second"
                )
            return False
        self._warned = False
        return True

    def fenced(self, job: JobId, attempt: int) -> bool:
        """Whether the attempt was given up, in this run or an earlier one."""
        return any((self.fences / _fence_name(job, number)).exists() for number in (attempt, None))

    def words(self) -> list[Any]:
        """The notices of ends that nodes have left since the last call: one message of the agent's each, as it came.

        A file that cannot be read now is read again at the next call, without any effect on the others.
        """
        try:
            names = {path.name for path in self.fences.iterdir() if path.suffix == WORD}
        except OSError:
            return []
        found = []
        now = time.monotonic()
        for name in sorted(names - self._heard):
            try:
                found.append(json.loads((self.fences / name).read_bytes()))
            except OSError:
                continue
            except (ValueError, RecursionError):
                # Files are renamed into place, but NFS may show the name before the content.
                if now - self._unreadable.setdefault(name, now) < UNREADABLE_S:
                    continue
            self._heard.add(name)
            self._unreadable.pop(name, None)
        return found

    def settle(self, job: JobId, attempt: int, away: bool) -> None:
        """The job's end is on Snakemake's record; `away`: its node cannot hear of it now, and keeps its own."""
        name = _fence_name(job, attempt)
        if away and not self._touch(name + DONE):
            self._unwritten[name + DONE] = None
        if name + WORD in self._heard:
            _remove(self.fences / (name + WORD))

    def settled(self, job: str, attempt: int) -> bool:
        """Whether a record of an attempt that has ended says nothing new."""
        return (self.fences / (_fence_name(job, attempt) + DONE)).exists()

    def clear_words(self) -> None:
        """All of this run is on Snakemake's record."""
        for path in self.fences.glob(f"{self.run}.*{WORD}"):
            _remove(path)

    def release(self) -> None:
        """Give the lock back and remove the probe."""
        _remove(self.probe)
        found = read_lock(self.lock)
        if found is not None and found[0].run == self.run:
            _remove(self.lock)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # The filesystem is full, read-only or away. What is left does no harm: each run removes what is old.
        pass


def _unfinished(pointer: Path) -> bool:
    """Whether the run that a pointer names may have left jobs behind."""
    try:
        return json.loads(pointer.read_text()).get("complete") is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True


def _fence_name(job: str, attempt: int | None) -> str:
    return f"{job.replace('/', '.')}.{'all' if attempt is None else attempt}"


def read_lock(path: Path) -> tuple[Owner, float] | None:
    """Who holds a lock and its last heartbeat; None if nobody does, the file is torn, or it came with a copy of another
    directory, where its controller may well be alive.
    """
    try:
        found = path.stat()
        data: Any = json.loads(path.read_text())
        copied = data.pop("inode", found.st_ino) != found.st_ino
        return None if copied else (Owner(**data), found.st_mtime)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
