"""Reads the processes of this node: what the kernel says about each of them, and which job each belongs to."""

import os
from collections import namedtuple

from harbor_programs import output_of
from harbor_system import PAGE_MB, TICKS, read_file

KEY = b"HARBOR_JOB_KEY"

# `cpu_s` are the CPU seconds of the process and of its children that it has reaped. `start` is in ticks since boot.
Stat = namedtuple("Stat", "parent group session cpu_s start resident_mb")


def stat_of(pid):
    """Return the Stat of a process, or None if there is no such process."""
    raw = read_file("/proc/%s/stat" % pid)
    try:
        fields = raw[raw.rindex(")") + 2 :].split()
        cpu_s = (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / float(TICKS)
        mb = int(fields[21]) * PAGE_MB
        return Stat(int(fields[1]), int(fields[2]), int(fields[3]), cpu_s, int(fields[19]), mb)
    except (ValueError, IndexError):
        return None


def all_processes():
    """Return {pid: Stat} of every process that we may see."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        pids = []
    if not pids:
        return processes_by_ps()
    found = ((pid, stat_of(pid)) for pid in pids)
    return {pid: stat for pid, stat in found if stat is not None}


def processes_by_ps():
    """Do the same where /proc is missing (macOS). Its `ps` shows no session, but each job leads a group as well."""
    table = {}
    for line in output_of(["ps", "-axo", "pid=,ppid=,pgid=,time="], 5).splitlines():
        words = line.split()
        try:
            pid, parent, group = [int(word) for word in words[:3]]
            cpu_s = 0.0
            for part in words[3].replace("-", ":").split(":"):
                cpu_s = cpu_s * 60 + float(part)
        except (ValueError, IndexError):
            continue
        table[pid] = Stat(parent, group, group, cpu_s, 0, 0.0)
    return table


def parent_and_birth(pid):
    """Return (parent, birth) of a process, or None if it is gone.

    The birth is a text that says when the process started. It distinguishes the process from a later one of that pid.
    """
    found = stat_of(pid)
    if found is not None:
        return found.parent, str(found.start)
    if os.path.exists("/proc/self/stat"):
        return None
    words = output_of(["ps", "-o", "ppid=,lstart=", "-p", str(pid)], 5).split()
    return (int(words[0]), " ".join(words[1:])) if words else None


def our_identity():
    """Return [pid, birth] of this process."""
    found = parent_and_birth(os.getpid())
    return [os.getpid(), found[1] if found else None]


def environment_of(pid):
    """Return the list of NAME=VALUE that a process was started with. It is empty if we may not see it."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as f:
            return f.read().split(b"\0")
    except OSError:
        return []


def job_keys_of(pid):
    """Return the job keys in the environment of a process.

    While bash reads a variable at its start, it replaces the `=` by NUL. The key is found in that form, too.
    """
    items = environment_of(pid)
    found = {item[len(KEY) + 1 :] for item in items if item.startswith(KEY + b"=")}
    if KEY in items[:-1]:
        found.add(items[items.index(KEY) + 1])
    return found


def is_starting(pid, parent):
    """Return whether a child of an agent or a guardian is not the job's shell yet, so that no key can be seen.

    Three states follow each other. First the child is a fork of its parent, with the name of either program. Then it is
    the new program without an environment, for 0.1 ms or for as long as the disk needs to deliver the program. At last
    it is the new program with its environment.
    """
    try:
        if environment_of(pid) == environment_of(parent) and program_of(pid) == program_of(parent):
            return True
    except OSError:
        return False
    fields = read_file("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return len(fields) > 48 and fields[48] == "0" and fields[0] not in "ZX"


def program_of(pid):
    """Return the path of the program that a process runs. OSError is raised if it cannot be seen."""
    return os.readlink("/proc/%d/exe" % pid)


def name_of(pid):
    """Return what `ps -e` calls a process, or "" if there is no such process."""
    return read_file("/proc/%d/comm" % pid).strip()


def is_zombie(pid):
    """Return whether a process has ended and was not reaped."""
    return ") Z " in read_file("/proc/%d/stat" % pid)


def resident_mb(pid):
    """Return how much memory a process has now, in MiB."""
    words = read_file("/proc/%s/statm" % pid).split()
    return int(words[1]) * PAGE_MB if len(words) > 1 else 0.0


class ProcessTable:
    """All processes at one moment, and the job that each belongs to."""

    def __init__(self):
        self.processes = all_processes()
        self.children = {}
        for pid, stat in self.processes.items():
            self.children.setdefault(stat.parent, []).append(pid)
        self.keys = None

    def with_key(self, key):
        """Return the processes that have a job's key in their environment."""
        if self.keys is None:
            self.keys = {}
            for pid in self.processes:
                for found in job_keys_of(pid):
                    self.keys.setdefault(found, set()).add(pid)
        return self.keys.get(key.encode(), set())

    def family(self, leader, key=None, more=()):
        """Return the processes of a job, without the one that leads its session.

        They are the processes of the session, those that carry the key, those in `more`, and the descendants of all
        these. `leader` is None if the pid of the leader may belong to another process by now.

        A process that leaves the session (setsid, a double fork) is still found. An orphan becomes a child of the
        agent, which is its subreaper, and the key in its environment shows which job it belongs to.
        """
        processes = self.processes.items()
        found = {pid for pid, stat in processes if leader is not None and leader in (stat.group, stat.session)}
        found.update(self.with_key(key) if key is not None else (), more)
        stack = list(found) + [leader]
        while stack:
            for child in self.children.get(stack.pop(), ()):
                if child not in found:
                    found.add(child)
                    stack.append(child)
        return found - {leader, os.getpid()}
