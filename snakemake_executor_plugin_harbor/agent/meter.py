"""What the node is and how busy it is: cores, memory, GPUs, users, and the part of the load that is ours."""

import os
import pwd
import re
import sys
import time

from harbor_helpers import GIVEN_UP, output_of
from harbor_processes import SUBREAPER, TICKS, Look, born, is_zombie, read_file


def cgroup_directories():
    """Our cgroup's directories, innermost first: v2, then v1's cpu and memory controllers."""
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
    try:
        return int(read_file(path).split()[0])
    except (ValueError, IndexError):
        return None


def cpu_quota():
    """(cores that the cgroup allows, its directory), or (None, None)."""
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


def affinity():
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return list(range(os.cpu_count() or 1))


def memory():
    """(total, available) MiB, as far as our cgroups let us have them."""
    found = {}
    for line in read_file("/proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) // 1024
    total = found.get("MemTotal:")
    available = found.get("MemAvailable:", found.get("MemFree:"))
    if total is None or available is None:
        try:
            import psutil

            virtual = psutil.virtual_memory()
            return virtual.total >> 20, virtual.available >> 20
        except ImportError:
            pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
            return pages, None
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


TIRED = set()  # programs that took too long: they are not started again and again


def ask(scratch, argv, timeout):
    """output_of, but not while a child of an earlier agent hangs in the same program: each would leave one more."""
    note = os.path.join(scratch, "hangs." + argv[0])
    pid, _, birth = read_file(note).strip().partition(" ")
    if pid.isdigit():
        found = born(int(pid))
        if found is not None and found[1] == birth and not is_zombie(int(pid)):
            return ""
        os.unlink(note)
    if argv[0] in TIRED:
        return ""
    began = time.monotonic()
    text = output_of(argv, timeout)
    if time.monotonic() - began >= timeout:
        TIRED.add(argv[0])
    found = born(GIVEN_UP[argv[0]]) if argv[0] in GIVEN_UP else None
    if found is not None:
        try:
            with open(note, "w") as f:
                f.write("%d %s" % (GIVEN_UP[argv[0]], found[1]))
        except OSError:
            pass
    return text


def nvidia(scratch, query):
    """Rows of nvidia-smi, as lists of words; empty where there is none."""
    text = ask(scratch, ["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader,nounits"], 10)
    return [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]


def users(scratch):
    text = ask(scratch, ["who"], 2)
    return sorted({line.split()[0] for line in text.splitlines() if line.split()})


class Meter:
    """Busy cores between two samples, and the part of them that is ours."""

    def __init__(self):
        self.cpus = affinity()
        quota, self.quota_directory = cpu_quota()
        if quota is None or quota >= len(self.cpus):
            self.quota_directory = None
        self.cores = len(self.cpus) if self.quota_directory is None else max(1, int(quota))
        self.counted = {}
        self.members = {}  # {key: {pid: start}} at the last sample
        self.last = self.busy_seconds()
        self.last_own = self.own_seconds()
        self.last_at = time.monotonic()
        self.users, self.users_at = [], -1e9

    def busy_seconds(self):
        if self.quota_directory is not None:
            for line in read_file(self.quota_directory + "/cpu.stat").splitlines():
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e6
            usage = number_in(self.quota_directory + "/cpuacct.usage")
            if usage is not None:
                return usage / 1e9
        wanted = {"cpu%d" % n for n in self.cpus}
        total = 0.0
        seen = False
        for line in read_file("/proc/stat").splitlines():
            words = line.split()
            if words and words[0] in wanted:
                seen = True
                ticks = [int(n) for n in words[1:9]]
                total += (sum(ticks) - ticks[3] - (ticks[4] if len(ticks) > 4 else 0)) / float(TICKS)
        return total if seen else None

    @staticmethod
    def own_seconds():
        """CPU of this process and of all that it has reaped: jobs with everything that they reaped."""
        return sum(os.times()[:4])

    def forked(self, spent):
        """In a child: what its parent had `spent` when it forked is ours, too."""
        self.last_own = self.own_seconds() - (spent - self.last_own)

    def sample(self, running):
        """(busy, ours by key, ended, resident MiB by key) since the last sample, in cores. `running`: {key: pid}."""
        now = time.monotonic()
        span = max(1e-3, now - self.last_at)
        busy_now, own_now = self.busy_seconds(), self.own_seconds()
        if busy_now is None or self.last is None:
            busy = min(os.getloadavg()[0], self.cores)
        else:
            busy = max(0.0, busy_now - self.last) / span
        ours, counted, resident, self.members = {}, {}, {}, {}
        if running:
            look = Look()
            table = look.table
            for key, pid in running.items():
                members = [m for m in look.family(pid) | {pid} if m in table]
                self.members[key] = {m: table[m][4] for m in members}
                resident[key] = max([table[m][5] for m in members] or [0.0])
                counted[key] = sum(table[m][3] for m in members)
                ours[key] = max(0.0, counted[key] - self.counted.get(key, 0.0)) / span
        before = sum(seconds for key, seconds in self.counted.items() if key not in counted)
        ended = max(0.0, own_now - self.last_own - before) / span
        self.last, self.last_own, self.last_at, self.counted = busy_now, own_now, now, counted
        return min(busy, len(self.cpus)), {k: round(v, 3) for k, v in ours.items() if v > 0}, ended, resident

    def who(self, scratch):
        if time.monotonic() - self.users_at > 30:
            self.users, self.users_at = users(scratch), time.monotonic()
        return self.users


def same_paths(welcome):
    """Which paths outside the working directory are the same on the controller and here."""
    same = []
    for path, inode, mtime in welcome.get("same") or []:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            continue
        if found.st_ino == inode and found.st_mtime_ns == mtime:
            same.append(path)
    return same


def introduce(welcome, scratch):
    """What this node says of itself in `hello`."""
    gpus = [
        {"index": int(row[0]), "name": row[1], "mem_mb": int(float(row[2]))}
        for row in nvidia(scratch, "index,name,memory.total")
        if len(row) == 3 and row[0].isdigit()
    ]
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    tmpdir = next((os.environ[n] for n in ("TMPDIR", "TEMP", "TMP") if os.environ.get(n)), "/tmp")
    warnings = []
    if not os.path.exists("/proc/stat"):
        warnings.append("no /proc here: the load is the load average")
    if not SUBREAPER:
        warnings.append("no subreaper here: a job's daemons are found by their environment only")
    if re.search(r"^\s*KillUserProcesses\s*=\s*(yes|true|1|on)", read_file("/etc/systemd/logind.conf"), re.M | re.I):
        if not os.path.exists("/var/lib/systemd/linger/" + user):
            warnings.append("systemd kills jobs when the connection ends; type: loginctl enable-linger " + user)
    return {
        "python": "%d.%d.%d" % sys.version_info[:3], "host": os.uname()[1], "user": user, "uid": os.getuid(),
        "platform": sys.platform, "mem_mb": memory()[0], "gpus": gpus, "same": same_paths(welcome),
        "tmpdir": tmpdir, "path": os.environ.get("PATH", ""), "time": time.time(), "warnings": warnings,
    }  # fmt: skip
