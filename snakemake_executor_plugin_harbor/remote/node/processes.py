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


def born(pid):
    """(parent, a word that tells a process from a later one of the same pid: when it started); None if it is gone."""
    found = proc_stat(pid)
    if found is not None:
        return found[0], str(found[4])
    if os.path.exists("/proc/self/stat"):
        return None
    words = output_of(["ps", "-o", "ppid=,lstart=", "-p", str(pid)], 5).split()
    return (int(words[0]), " ".join(words[1:])) if words else None


def find_leader(key, patience):
    """The pid of the session leader that carries a job's key; None if there is none within `patience` seconds."""
    wanted, deadline = b"HARBOR_JOB_KEY=" + key.encode(), time.monotonic() + patience
    while True:
        for pid, found in all_processes().items():
            if found[2] == pid and wanted in environment_of(pid):
                return pid
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


def environment_of(pid):
    """NAME=VALUE of a process, as it was started; empty if we may not see it."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as f:
            return f.read().split(b"\0")
    except OSError:
        return []


def family(leader, key, table):
    """Processes of a job, without the one that leads its session: the session, its descendants, and those that carry
    its key.

    Leaving the session (setsid, a double fork) does not help: orphans become children of the agent, which is their
    subreaper, and HARBOR_JOB_KEY in the environment tells whose they are.
    """
    children = {}
    for pid, found in table.items():
        children.setdefault(found[0], []).append(pid)
    members = {pid for pid, found in table.items() if found[2] == leader}
    stack = [leader]
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in members:
                members.add(child)
            stack.append(child)
    if key is not None:
        wanted = b"HARBOR_JOB_KEY=" + key.encode()
        for pid in table:
            if pid not in members and wanted in environment_of(pid):
                members.add(pid)
    members.discard(leader)
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


def start_process(program, argv, env, cwd, output):
    """A child in a session of its own and in directory `cwd`, stdin from /dev/null, stdout and stderr appended to
    `output`; its pid. OSError if it cannot be started.
    """
    os.chdir(cwd)  # posix_spawn has no such action, and we are single-threaded
    try:
        return spawn_process(program, argv, env, output)
    finally:
        os.chdir("/")


def spawn_process(program, argv, env, output):
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
