"""A working directory's `.snakemake/harbor/`: the lock, the pointer to the journal, the shared-filesystem probe."""

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..errors import HarborError

HEARTBEAT_S = 10.0
STALE_S = 60.0
FENCE_KEEP_S = 86400.0
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
        """On this machine the process table knows; from elsewhere only the heartbeat tells."""
        if self.host != socket.gethostname():
            return time.time() - heartbeat < STALE_S
        if self.boot_id != boot_id():
            return False
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


class Project:
    """`.snakemake/harbor/` of one working directory, held by one controller at a time."""

    def __init__(self, workdir: Path, run: str) -> None:
        self.workdir = workdir
        self.run = run
        self.directory = workdir / ".snakemake" / "harbor"
        self.lock = self.directory / "lock"
        self.pointer = self.directory / "run.json"
        self.probe = self.directory / f"probe-{run}"
        self.fences = self.directory / "fence"
        self.token = secrets.token_hex(16)
        self.started = time.time()
        self._beat = 0.0

    def acquire(self) -> None:
        """Take the lock. Raises HarborError while another controller works in this directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        me = Owner(socket.gethostname(), os.getpid(), psutil.Process().create_time(), boot_id(), self.run)
        mine = self.directory / f"lock-{self.run}"
        mine.write_text(json.dumps(me.__dict__))
        try:
            for _ in range(100):
                try:
                    # A hard link is the one creation that is atomic on every NFS.
                    os.link(mine, self.lock)
                    break
                except FileExistsError:
                    self._refuse_if_alive()
                    self.lock.unlink(missing_ok=True)
        finally:
            mine.unlink(missing_ok=True)
        for old in self.directory.glob("probe-*"):
            old.unlink(missing_ok=True)
        for old in self.fences.glob("*"):
            # A fence is for a node that was cut off; one that still is after a day has lost its jobs long ago.
            if time.time() - old.stat().st_mtime > FENCE_KEEP_S:
                old.unlink(missing_ok=True)
        self.probe.write_text(self.token)

    def _refuse_if_alive(self) -> None:
        found = read_lock(self.lock)
        if found is None:
            return
        owner, heartbeat = found
        if owner.alive(heartbeat):
            raise HarborError(
                f"another harbor controller (process {owner.pid} on {owner.host}, run {owner.run}) works in "
                f"{self.workdir}; two would start every job twice.",
                "harbor status   # or wait for it to end",
            )

    def point_to(self, journal: Path) -> None:
        """Tell the `harbor` command where this run's journal is."""
        text = json.dumps({"run": self.run, "journal": str(journal), "host": socket.gethostname()})
        temporary = self.pointer.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.pointer)

    def beat(self) -> None:
        """Show controllers on other machines that this one lives."""
        now = time.monotonic()
        if now - self._beat >= HEARTBEAT_S:
            self._beat = now
            try:
                os.utime(self.lock)
            except OSError:
                # A full or unreachable filesystem is the jobs' trouble, not a reason to stop here.
                pass

    def release(self) -> None:
        """Give the lock back and remove the probe."""
        self.probe.unlink(missing_ok=True)
        found = read_lock(self.lock)
        if found is not None and found[0].run == self.run:
            self.lock.unlink(missing_ok=True)


def read_lock(path: Path) -> tuple[Owner, float] | None:
    """Who holds a lock and its last heartbeat; None if nobody does or the file is torn."""
    try:
        data: Any = json.loads(path.read_text())
        return Owner(**data), path.stat().st_mtime
    except (OSError, ValueError, TypeError):
        return None
