"""Processes of this node: whose they are, how to start and to end them, what the kernel says of them."""

import ctypes
import errno
import os
import select
import signal
import time

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Python ignores PIPE and XFSZ; what is ignored would be inherited.
RESET = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]


def read_file(path, default=""):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return default


def output_of(argv, timeout):
    """What a program prints; "" if it is not there, fails or takes longer than `timeout` seconds."""
    program = which(argv[0])
    if program is None:
        return ""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(into, 1)
            os.execv(program, argv)
        finally:
            os._exit(127)
    os.close(into)
    data, deadline = b"", time.monotonic() + timeout
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(out, 65536)
        if not chunk:
            break
        data += chunk
    else:
        os.kill(pid, signal.SIGKILL)
        data = b""
    os.close(out)
    os.waitpid(pid, 0)
    return data.decode("utf-8", "replace")


def which(name):
    """The path of a program; None if PATH has none of that name."""
    if "/" in name:
        return name
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def find_boot_id():
    found = read_file("/proc/sys/kernel/random/boot_id").strip()
    return found or output_of(["sysctl", "-n", "kern.boottime"], 5).strip() or "unknown"


def proc_stat(pid):
    """(ppid, pgrp, session, cpu seconds with reaped children, start ticks), or None."""
    raw = read_file("/proc/%s/stat" % pid)
    try:
        fields = raw[raw.rindex(")") + 2 :].split()
        cpu = sum(int(n) for n in fields[11:15]) / float(TICKS)
        return int(fields[1]), int(fields[2]), int(fields[3]), cpu, int(fields[19])
    except (ValueError, IndexError):
        return None


def all_processes():
    """{pid: proc_stat} of every process that we may see; empty without /proc."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    found = ((pid, proc_stat(pid)) for pid in pids)
    return {pid: stat_ for pid, stat_ in found if stat_ is not None}


def family(guardian, key, table):
    """Processes of a job, without its guardian: its session, its descendants, and those that carry its key.

    Leaving the session (setsid, a double fork) does not help: the guardian is the subreaper of its descendants, and
    where that is not to be had, HARBOR_JOB_KEY in the environment tells.
    """
    children = {}
    for pid, found in table.items():
        children.setdefault(found[0], []).append(pid)
    members = {pid for pid, found in table.items() if found[2] == guardian}
    stack = [guardian]
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in members:
                members.add(child)
            stack.append(child)
    if key is not None:
        wanted = b"HARBOR_JOB_KEY=" + key.encode()
        for pid in table:
            if pid not in members:
                try:
                    with open("/proc/%d/environ" % pid, "rb") as f:
                        if wanted in f.read().split(b"\0"):
                            members.add(pid)
                except OSError:
                    pass
    members.discard(guardian)
    members.discard(os.getpid())
    return members


def kill_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
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


def oom_count():
    """OOM kills that the kernel has counted, here and in our cgroup."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        for line in read_file(path).splitlines():
            if line.startswith("oom_kill "):
                total += int(line.split()[1])
    return total


def become_subreaper():
    """Orphans of jobs become our children instead of init's: a job's daemons can then be found. Linux only."""
    try:
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def start_process(program, argv, env, output):
    """A child in a session of its own, stdin from /dev/null, stdout and stderr appended to `output`; its pid."""
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


BOOT_ID = find_boot_id()
SUBREAPER = become_subreaper()
