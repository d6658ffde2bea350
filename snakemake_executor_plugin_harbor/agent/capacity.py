"""Finds how many cores and how much memory we may use: those of the machine, or less if a cgroup limits us."""

import os

from harbor_system import read_file


def cgroup_directories():
    """Return the directories of our cgroup, the innermost first: of v2, and of v1's cpu and memory controllers."""
    found = []
    for line in read_file("/proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        if parts[1] == "":
            base = "/sys/fs/cgroup"
        elif set(parts[1].split(",")) & {"cpu", "memory"}:
            base = "/sys/fs/cgroup/" + parts[1]
        else:
            continue
        path = parts[2].rstrip("/")
        while True:
            found.append(base + path)
            if not path:
                break
            path = path.rpartition("/")[0]
    return found


def number_in(path):
    """Return the number that a file begins with, or None."""
    try:
        return int(read_file(path).split()[0])
    except (ValueError, IndexError):
        return None


def cpu_quota():
    """Return (cores that the cgroup allows, the cgroup's directory), or (None, None) if there is no limit."""
    best, where = None, None
    for directory in cgroup_directories():
        words = read_file(directory + "/cpu.max").split()
        quota, period = number_in(directory + "/cpu.cfs_quota_us"), number_in(directory + "/cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit():
            quota, period = int(words[0]), int(words[1])
        if quota is not None and quota > 0 and period:
            cores = float(quota) / period
            if best is None or cores < best:
                best, where = cores, directory
    return best, where


def allowed_cpus():
    """Return the numbers of the CPUs on which this process may run."""
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return list(range(os.cpu_count() or 1))


def memory():
    """Return (total, available) MiB, as far as our cgroups let us use them."""
    total, available = machine_memory()
    if available is None:
        return total, None
    for directory in cgroup_directories():
        limit = number_in(directory + "/memory.max") or number_in(directory + "/memory.limit_in_bytes")
        used = number_in(directory + "/memory.current") or number_in(directory + "/memory.usage_in_bytes")
        if limit is not None and used is not None and limit >> 20 < total:
            cache = 0
            for line in read_file(directory + "/memory.stat").splitlines():
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    cache = int(line.split()[1])
            total = limit >> 20
            available = min(available, max(0, limit - used + cache) >> 20)
    return total, available


def machine_memory():
    """Return (total, available) MiB of the machine. The second is None if it cannot be known."""
    found = {}
    for line in read_file("/proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) // 1024
    total = found.get("MemTotal:")
    available = found.get("MemAvailable:", found.get("MemFree:"))
    if total is not None and available is not None:
        return total, available
    try:
        import psutil
    except ImportError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20, None
    virtual = psutil.virtual_memory()
    return virtual.total >> 20, virtual.available >> 20
