"""A working directory's `.snakemake/harbor/`: the lock, the pointer to the journal, and the probe.

The lock refuses a second controller, which would start every job twice. The pointer tells the `harbor` command where
the journal is. Nodes read the probe to find out whether they see the same working directory.
"""

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
"""If the heartbeat of another machine's lock is older than this, that controller is dead."""


@dataclass(frozen=True)
class Owner:
    """The controller that holds a lock."""

    host: str
    pid: int
    born: float
    boot_id: str
    run: str

    def alive(self, heartbeat: float = 0.0) -> bool:
        """Return whether the controller lives. `heartbeat` is the time of the lock's last heartbeat.

        The process table answers for this machine, and the heartbeat answers for others. The boot id is compared as
        well, because another machine may have the same name. This machine had another boot id before its last reboot.
        """
        if (self.host, self.boot_id) != (socket.gethostname(), boot_id()):
            return time.time() - heartbeat < STALE_S
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.born) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def boot_id() -> str:
    """Return an id that changes with every boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(psutil.boot_time())


def new_run() -> str:
    """Return a name for a new run. Names sort by time, and no two controllers make the same one."""
    return time.strftime("%y%m%d-%H%M%S-") + secrets.token_hex(3)


def typed_workdir() -> str:
    """Return the working directory as the user typed it, if that leads to the same directory.

    An automounter resolves paths to other paths that may not exist on nodes.
    """
    typed, real = os.environ.get("PWD", ""), os.getcwd()
    try:
        return typed if typed.startswith("/") and os.path.samefile(typed, real) else real
    except OSError:
        return real


class Workdir:
    """`.snakemake/harbor/` of one working directory. At most one controller at a time holds its lock.

    `owner` is this controller, and `token` is the content of the probe. `id` is the directory's id. `unfinished` says
    whether the run before may have left jobs behind. Both are known after `acquire`.
    """

    def __init__(self, workdir: Path, run: str, warn: Callable[[str], None] = lambda text: None) -> None:
        self.workdir = workdir
        self.run = run
        self.directory = workdir / ".snakemake" / "harbor"
        self.lock = self.directory / "lock"
        self.pointer = self.directory / "run.json"
        self.probe = self.directory / f"probe-{run}"
        self.fences = FenceDir(self.directory / "fence", run, warn)
        self.token = secrets.token_hex(16)
        self.owner = Owner(socket.gethostname(), os.getpid(), psutil.Process().create_time(), boot_id(), run)
        self.started = time.time()
        self.unfinished = False
        self.id = ""
        self._journal: Path | None = None
        self._last_heartbeat = 0.0

    def acquire(self) -> None:
        """Take the lock, and write the probe.

        Raises HarborError if another controller works in this directory, or if the directory cannot be written.
        """
        try:
            self._acquire()
        except OSError as error:
            raise HarborError(
                f"{self.directory} cannot be written: {error.strerror or error}.", f"df -h {self.workdir}"
            ) from error

    def _acquire(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        self.id = directory_id(self.directory)
        self.unfinished = _unfinished(self.pointer)
        for old in self.directory.glob("probe-*"):
            old.unlink(missing_ok=True)
        self.fences.remove_old()
        self.probe.write_text(self.token)

    def _take_lock(self) -> None:
        mine = self.directory / f"lock-{self.run}"
        with mine.open("w") as file:
            file.write(json.dumps(self.owner.__dict__ | {"inode": os.fstat(file.fileno()).st_ino}))
        try:
            while not self._link_lock(mine):
                self._remove_stale_lock()
        finally:
            mine.unlink(missing_ok=True)

    def _link_lock(self, mine: Path) -> bool:
        """Return whether `mine` is the lock now. A hard link is the one way of creation that is atomic on every NFS."""
        try:
            os.link(mine, self.lock)
        except FileExistsError:
            return False
        return True

    def _remove_stale_lock(self) -> None:
        """Remove the lock of a dead controller. Raises HarborError if the controller lives."""
        found = read_lock(self.lock)
        if found is not None and found[0].alive(found[1]):
            raise self._refusal(found[0])
        aside = self.directory / f"lock-{self.run}.old"
        try:
            self.lock.rename(aside)
        except FileNotFoundError:
            return
        taken = read_lock(aside)
        if taken is not None and (found is None or taken[0] != found[0]):
            # Another controller removed the stale lock first, so this is the lock of that controller. It is put back.
            self._link_lock(aside)
        aside.unlink(missing_ok=True)

    def _refusal(self, owner: Owner) -> HarborError:
        return HarborError(
            f"another harbor controller (process {owner.pid} on {owner.host}, run {owner.run}) works in "
            f"{self.workdir}; two would start every job twice.",
            "harbor attach   # shows its output; or: harbor status --watch, harbor stop",
        )

    def write_pointer(self, journal: Path, complete: bool = False) -> None:
        """Write where this run's journal is, and whether the run is complete or has left jobs behind."""
        self._journal = journal
        facts = {"run": self.run, "journal": str(journal), "host": socket.gethostname(), "complete": complete}
        temporary = self.pointer.with_suffix(".new")
        temporary.write_text(json.dumps(facts))
        temporary.replace(self.pointer)

    def heartbeat(self) -> None:
        """Renew the lock, so that controllers on other machines see that this one lives.

        Raises HarborError if another controller has taken over, which may happen while this process is suspended.
        """
        now = time.time()
        if 0 <= now - self._last_heartbeat < HEARTBEAT_S and os.path.lexists(self.lock):
            return
        self._last_heartbeat = now
        found = read_lock(self.lock)
        if found is not None and found[0].run != self.run:
            raise self._refusal(found[0])
        try:
            if found is None and not self.lock.exists():
                self._restore_files()
            os.utime(self.lock)
        except OSError:
            # A full or unreachable filesystem is no reason to stop. Jobs that need it fail by themselves.
            pass

    def _restore_files(self) -> None:
        """Write the files again that nodes and other controllers read, because somebody has deleted `.snakemake`.

        Raises HarborError if another controller has taken the lock in the meantime.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        write_id(self.directory, self.id)
        self.probe.write_text(self.token)
        if self._journal is not None:
            self.write_pointer(self._journal)

    def release(self) -> None:
        """Remove the lock and the probe."""
        remove(self.probe)
        found = read_lock(self.lock)
        if found is not None and found[0].run == self.run:
            remove(self.lock)


def _unfinished(pointer: Path) -> bool:
    """Return whether the run that a pointer names may have left jobs behind."""
    try:
        return json.loads(pointer.read_text()).get("complete") is not True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True


def is_complete(workdir: Path, run: str) -> bool:
    """Return whether this run is the latest one of a directory, and has done all of its jobs."""
    try:
        pointer = json.loads((workdir / ".snakemake" / "harbor" / "run.json").read_text())
        return (pointer["run"], pointer["complete"]) == (run, True)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def controller_of(workdir: Path) -> Owner | None:
    """Return the controller that works in a directory at the moment, or None."""
    found = read_lock(workdir / ".snakemake" / "harbor" / "lock")
    return found[0] if found is not None and found[0].alive(found[1]) else None


def read_lock(path: Path) -> tuple[Owner, float] | None:
    """Return who holds a lock, and the time of its last heartbeat. None: nobody holds it, or the file is damaged.

    The lock does not count either if it is part of a copy of another directory, whose controller may live.
    """
    try:
        found = path.stat()
        data: Any = json.loads(path.read_text())
        copied = data.pop("inode", found.st_ino) != found.st_ino
        return None if copied else (Owner(**data), found.st_mtime)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
