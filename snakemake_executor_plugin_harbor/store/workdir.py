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

from ..errors import HarborError
from .directory_id import directory_id, write_id
from .fence_dir import FenceDir, remove

HEARTBEAT_S = 10.0
STALE_S = 60.0
"""A lock of another machine whose heartbeat is older than this is that of a dead controller."""


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
        self.fences = FenceDir(self.directory / "fence", run, warn)
        self.token = secrets.token_hex(16)
        self.started = time.time()
        self.unfinished = False
        self.id = ""
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
        self.fences.remove_old()
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

    def write_pointer(self, journal: Path, complete: bool = False) -> None:
        """Tell the `harbor` command where this run's journal is, and the next run whether this one left jobs behind."""
        self._journal = journal
        facts = {"run": self.run, "journal": str(journal), "host": socket.gethostname(), "complete": complete}
        temporary = self.pointer.with_suffix(".new")
        temporary.write_text(json.dumps(facts))
        temporary.replace(self.pointer)

    def heartbeat(self) -> None:
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
            self.write_pointer(self._journal)

    def release(self) -> None:
        """Give the lock back and remove the probe."""
        remove(self.probe)
        found = read_lock(self.lock)
        if found is not None and found[0].run == self.run:
            remove(self.lock)


def _unfinished(pointer: Path) -> bool:
    """Whether the run that a pointer names may have left jobs behind."""
    try:
        return json.loads(pointer.read_text()).get("complete") is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True


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
