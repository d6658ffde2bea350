"""Processes of this node: whose they are, how to start and to end them, what the kernel says of them."""

import ctypes
import errno
import os
import resource
import signal
import sys

from harbor_helpers import output_of

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1048576.0 if hasattr(os, "sysconf") else 0.0
KEY = b"HARBOR_JOB_KEY"
# Python ignores PIPE and XFSZ; what is ignored would be inherited.
RESET = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]


def read_file(path, default=""):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return default


def find_boot_id():
    found = read_file("/proc/sys/kernel/random/boot_id").strip()
    return found or output_of(["sysctl", "-n", "kern.boottime"], 5).strip() or "unknown"


def proc_stat(pid):
    """(ppid, pgrp, session, cpu seconds with reaped children, start ticks, MiB resident), or None."""
    raw = read_file("/proc/%s/stat" % pid)
    try:
        fields = raw[raw.rindex(")") + 2 :].split()
        cpu = sum(int(n) for n in fields[11:15]) / float(TICKS)
        ids = int(fields[1]), int(fields[2]), int(fields[3])
        return ids + (cpu, int(fields[19]), int(fields[21]) * PAGE_MB)
    except (ValueError, IndexError):
        return None


def all_processes():
    """{pid: proc_stat} of every process that we may see."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        pids = []
    if not pids:
        return listed_processes()
    found = ((pid, proc_stat(pid)) for pid in pids)
    return {pid: stat_ for pid, stat_ in found if stat_ is not None}


def listed_processes():
    """all_processes where /proc is missing (macOS): its `ps` names no session, but jobs lead groups as well."""
    table = {}
    for line in output_of(["ps", "-axo", "pid=,ppid=,pgid=,time="], 5).splitlines():
        words = line.split()
        try:
            pid, parent, group = [int(word) for word in words[:3]]
            cpu = 0.0
            for part in words[3].replace("-", ":").split(":"):
                cpu = cpu * 60 + float(part)
        except (ValueError, IndexError):
            continue
        table[pid] = (parent, group, group, cpu, 0, 0.0)
    return table


def born(pid):
    """(parent, a word that tells a process from a later one of the same pid: when it started); None if it is gone."""
    found = proc_stat(pid)
    if found is not None:
        return found[0], str(found[4])
    if os.path.exists("/proc/self/stat"):
        return None
    words = output_of(["ps", "-o", "ppid=,lstart=", "-p", str(pid)], 5).split()
    return (int(words[0]), " ".join(words[1:])) if words else None


def environment_of(pid):
    """NAME=VALUE of a process, as it was started; empty if we may not see it."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as f:
            return f.read().split(b"\0")
    except OSError:
        return []


def job_keys_of(pid):
    """The keys of jobs in the environment of a process. While bash reads a variable, it replaces the `=` by NUL."""
    items = environment_of(pid)
    found = {item[len(KEY) + 1 :] for item in items if item.startswith(KEY + b"=")}
    if KEY in items[:-1]:
        found.add(items[items.index(KEY) + 1])
    return found


class Look:
    """All processes at one moment, and whose they are."""

    def __init__(self):
        self.table = all_processes()
        self.children = {}
        for pid, found in self.table.items():
            self.children.setdefault(found[0], []).append(pid)
        self.keys = None

    def carrying(self, key):
        """The processes that have a job's key in their environment."""
        if self.keys is None:
            self.keys = {}
            for pid in self.table:
                for found in job_keys_of(pid):
                    self.keys.setdefault(found, set()).add(pid)
        return self.keys.get(key.encode(), set())

    def family(self, leader, key=None, more=()):
        """Processes of a job, without the one that leads its session (None: that pid says nothing): the session, those
        that carry its key, `more`, and the descendants of all these.

        Leaving the session (setsid, a double fork) does not help: orphans become children of the agent, which is their
        subreaper, and HARBOR_JOB_KEY in the environment tells whose they are.
        """
        found = {pid for pid, stat_ in self.table.items() if leader is not None and leader in stat_[1:3]}
        found.update(self.carrying(key) if key is not None else (), more)
        stack = list(found) + [leader]
        while stack:
            for child in self.children.get(stack.pop(), ()):
                if child not in found:
                    found.add(child)
                    stack.append(child)
        return found - {leader, os.getpid()}


def kill_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def kill_group(leader, number):
    """A signal for the group that a job's shell leads."""
    try:
        os.killpg(leader, number)
    except OSError:
        pass


def lower_group(leader, nice):
    """Give a session's processes less of the CPU, as `nice` alone does not where the kernel shares it out by sessions
    (sched_autogroup, on by default): each would get as much as the desktop. False: later (EAGAIN: ten times a second).
    """
    try:
        with open("/proc/%d/autogroup" % leader, "wb", 0) as f:
            f.write(b"%d" % nice)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def own_peak():
    """The most memory that this process has had, in MiB."""
    kib = 1048576.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kib


def is_zombie(pid):
    return ") Z " in read_file("/proc/%d/stat" % pid)


def is_starting(pid, parent):
    """Whether a child of an agent or a guardian has not become the job's shell yet, so that its environment cannot tell
    which job it is.

    The three states follow each other: a fork of its parent, with the name of either program; the new program without
    an environment (0.1 ms, or as long as the disk needs to deliver it); the new program with its environment.
    """
    try:
        if environment_of(pid) == environment_of(parent) and exe_of(pid) == exe_of(parent):
            return True
    except OSError:
        return False
    fields = read_file("/proc/%d/stat" % pid).rpartition(")")[2].split()
    return len(fields) > 48 and fields[48] == "0" and fields[0] not in "ZX"


def exe_of(pid):
    return os.readlink("/proc/%d/exe" % pid)


def resident(pid):
    """MiB of memory that a process has now."""
    words = read_file("/proc/%s/statm" % pid).split()
    return int(words[1]) * PAGE_MB if len(words) > 1 else 0.0


def name_of(pid):
    return read_file("/proc/%d/comm" % pid).strip()


def oom_count():
    """OOM kills that the kernel has counted, here and in our cgroup."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        for line in read_file(path).splitlines():
            if line.startswith("oom_kill "):
                total += int(line.split()[1])
    return total


def become_subreaper():
    """Orphans of our descendants become our children instead of init's: jobs whose agent was killed, and daemons that
    jobs start. Linux only; a child has to say it again.
    """
    try:
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def name_process(name):
    """What `ps -e` and `top` call us: at most 15 letters."""
    try:
        with open("/proc/self/comm", "wb", 0) as f:
            f.write(name)
    except OSError:
        pass


def ended_child():
    """(pid, exit code as a shell gives it, usage or None) of a child that has ended; None if there is none.

    Without usage it is a zombie still, for the caller to wait for: whoever looks sees either the process or what the
    caller has written down of it.
    """
    try:
        if hasattr(os, "waitid"):
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return None
            return found.si_pid, found.si_status + (0 if found.si_code == os.CLD_EXITED else 128), None
        pid, status, usage = os.wait4(-1, os.WNOHANG)
    except OSError:
        return None
    if pid == 0:
        return None
    return pid, 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), usage


def start_process(program, argv, env, output):
    """A child in a session of its own, stdin from /dev/null, stdout and stderr appended to `output`; its pid. OSError
    if it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if hasattr(os, "POSIX_SPAWN_OPEN"):
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            # vfork: 0.5 ms whatever our size.
            return os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=RESET)
        except NotImplementedError:
            pass
    trouble, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(output, flags, 0o600), 1)
            os.dup2(1, 2)
            os.execve(program, argv, env)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    number = os.read(trouble, 16)
    os.close(trouble)
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


PROC = os.path.exists("/proc/self/stat")
BOOT_ID = find_boot_id()
SUBREAPER = become_subreaper()
