"""Facts about this system and this process that do not concern a single job: boot id, units, counters."""

import os
import resource
import sys

from harbor_programs import output_of

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1048576.0 if hasattr(os, "sysconf") else 0.0
PROC = os.path.exists("/proc/self/stat")


def read_file(path, default=""):
    """Return the text of a file, or `default` if it cannot be read."""
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return default


def find_boot_id():
    """Return an id that changes with every boot of this machine."""
    found = read_file("/proc/sys/kernel/random/boot_id").strip()
    return found or output_of(["sysctl", "-n", "kern.boottime"], 5).strip() or "unknown"


def uptime():
    """Return the seconds since boot, or None where there is no /proc."""
    words = read_file("/proc/uptime").split()
    return float(words[0]) if words else None


def oom_count():
    """Return how many OOM kills the kernel has counted, on this machine and in our cgroup."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        for line in read_file(path).splitlines():
            if line.startswith("oom_kill "):
                total += int(line.split()[1])
    return total


def max_rss_mb(usage):
    """Return the most memory that a process has had, in MiB, from its resource usage."""
    return usage.ru_maxrss / (1048576.0 if sys.platform == "darwin" else 1024.0)


def own_peak_mb():
    """Return the most memory that this process has had, in MiB."""
    return max_rss_mb(resource.getrusage(resource.RUSAGE_SELF))


BOOT_ID = find_boot_id()
