"""The keeper of a lab holds the hosts' disks, updates their /proc, and takes the lab down when its owner dies.

usage: python -m tests.lab.keeper DIR [OWNER_PID], in a mount namespace of its own.
"""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.machine import Cgroup

TICK_S = 0.1
JIFFIES = 100  # ticks of /proc/stat per second and CPU


class Numbers:
    """/proc/stat, /proc/loadavg and /proc/meminfo of one host.

    The CPUs of a host are busy with its own processes and with the load of other users that `Lab.load` sets. Two hosts
    of one machine do not see each other's work.
    """

    def __init__(self, etc: Path, group: Cgroup) -> None:
        self._etc = etc
        self._group = group
        self._cpus = sorted(os.sched_getaffinity(0))
        self._busy = self._idle = 0.0  # seconds, the sum over all CPUs
        self._used = group.cpu_seconds()
        self._files: dict[str, int] = {}

    def tick(self, passed: float) -> None:
        """Update the files, `passed` seconds after the last update."""
        setting = json.loads((self._etc / "load.json").read_text())
        used = self._group.cpu_seconds()
        total = passed * len(self._cpus)
        ours = used - self._used
        others = setting["busy"] * passed
        busy = min(ours + others, total)
        self._used = used
        self._busy += busy
        self._idle += total - busy
        load = setting["loadavg"]
        self._write("stat", self._stat())
        self._write("loadavg", "%.2f %.2f %.2f 1/100 1000\n" % ((busy / passed if load is None else load,) * 3))
        self._write("meminfo", meminfo(setting["mem_available_mb"]))
        self._write("applied", setting["stamp"])

    def _stat(self) -> str:
        # All CPUs get the same share, so that no counter goes back.
        busy, idle = (int(seconds * JIFFIES / len(self._cpus)) for seconds in (self._busy, self._idle))
        row = "%s %d 0 0 %d 0 0 0 0 0 0\n"
        rows = [row % ("cpu ", busy * len(self._cpus), idle * len(self._cpus))]
        rows += [row % (f"cpu{cpu}", busy, idle) for cpu in self._cpus]
        return "".join(rows) + f"intr 0\nctxt 0\nbtime {BOOT_TIME}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"

    def _write(self, name: str, text: str) -> None:
        """Write the file at once and in place, because the host has this file mounted over its /proc."""
        if name not in self._files:
            self._files[name] = os.open(self._etc / name, os.O_WRONLY | os.O_CREAT, 0o644)
        data = text.encode()
        os.pwrite(self._files[name], data, 0)
        os.truncate(self._files[name], len(data))


BOOT_TIME = int(Path("/proc/stat").read_text().partition("btime ")[2].split()[0])


def meminfo(available_mb: int | None) -> str:
    """Return this machine's /proc/meminfo with another figure for the available memory."""
    text = Path("/proc/meminfo").read_text()
    if available_mb is None:
        return text
    lines = [f"MemAvailable: {available_mb * 1024:9} kB" if "MemAvailable" in x else x for x in text.splitlines()]
    return "\n".join(lines) + "\n"


def main(directory: Path, owner: int | None) -> None:
    lab = Lab.attach(directory)
    for host in lab.hosts:
        disk = directory / host / "disk"
        options = f"size={lab.disk_mb}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, host, str(disk)], check=True)
        (disk / "page").write_text("so that a disk that is full has a size: size=0 means no limit\n")
    numbers = [Numbers(directory / host / "etc", lab.group(host)) for host in lab.hosts]
    watched = [os.pidfd_open(owner)] if owner else []
    last = time.monotonic() - TICK_S
    ready = False
    while not select.select(watched, [], [], TICK_S)[0]:
        now = time.monotonic()
        for each in numbers:
            each.tick(now - last)
        last = now
        if not ready:
            print("ready", flush=True)
            ready = True
    # The owner has died. The process that kills the lab must not be in the lab's control group.
    (Cgroup.root() / "cgroup.procs").write_text(str(os.getpid()))
    for host in lab.hosts:
        subprocess.run(["umount", "--lazy", str(directory / host / "disk")], check=True)
    lab.down()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
