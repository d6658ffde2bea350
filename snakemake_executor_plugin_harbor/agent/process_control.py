"""Starts, signals and reaps processes, and sets what the kernel knows about this process."""

import ctypes
import errno
import os
import signal

# Python ignores PIPE and XFSZ, and a child would inherit that.
RESET = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]


def signal_all(pids, number):
    """Send a signal to processes. Those that are gone are skipped."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def signal_group(leader, number):
    """Send a signal to the process group that a job's shell leads."""
    try:
        os.killpg(leader, number)
    except OSError:
        pass


def lower_group_priority(leader, nice):
    """Give the processes of a session less of the CPU. Returns False if it has to be tried again.

    `nice` alone does not do that where the kernel shares the CPU out by sessions (sched_autogroup, which is on by
    default). There each job would get as much as the whole desktop. The kernel accepts ten changes per second, and
    answers EAGAIN to further ones.
    """
    try:
        with open("/proc/%d/autogroup" % leader, "wb", 0) as f:
            f.write(b"%d" % nice)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def become_subreaper():
    """Let orphans of our descendants become our children instead of init's. Returns whether that was possible.

    Such orphans are jobs whose agent was killed, and daemons that jobs start. Only Linux has this. A child does not
    inherit it, and has to call this function again.
    """
    try:
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def set_process_name(name):
    """Set what `ps -e` and `top` call this process. At most 15 letters are kept."""
    try:
        with open("/proc/self/comm", "wb", 0) as f:
            f.write(name)
    except OSError:
        pass


def ended_child():
    """Return (pid, exit code as a shell gives it, resource usage or None) of a child that has ended, or None.

    If the usage is None, the child has not been reaped. The caller must first write the exit code to the record, and
    then call wait4(). So every other process finds either the zombie or its recorded exit code, and never neither.
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
    """Start a child in a session of its own and return its pid. OSError is raised if it cannot be started.

    Its stdin is /dev/null. Its stdout and stderr are appended to the file `output`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if hasattr(os, "POSIX_SPAWN_OPEN"):
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            # It uses vfork, which takes 0.5 ms however large this process is.
            return os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=RESET)
        except NotImplementedError:
            pass
    return fork_process(program, argv, env, output, flags)


def fork_process(program, argv, env, output, flags):
    """Do the same where posix_spawn() is missing (before Python 3.8) or cannot make a session."""
    trouble, into = os.pipe()
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
            os.write(into, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(into)
    number = os.read(trouble, 16)
    os.close(trouble)
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


SUBREAPER = become_subreaper()
