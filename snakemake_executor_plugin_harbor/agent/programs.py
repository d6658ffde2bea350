"""Runs programs of the node, such as `who` and `nvidia-smi`, within bounds of time and of output."""

import os
import select
import signal
import time

MAX_OUTPUT = 1 << 20  # bytes
KILLED_WITHIN = 1.0  # seconds
# {name: pid} of children that could not be killed, because they are in uninterruptible sleep (a broken driver). These
# programs are not started again.
UNKILLABLE = {}


def which(name):
    """Return the path of a program, or None if PATH has none of that name."""
    if "/" in name:
        return name
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def output_of(argv, timeout):
    """Run a program and return what it prints.

    The result is "" if the program does not exist, prints too much, or takes longer than `timeout` seconds.
    """
    program = which(argv[0])
    if program is None or argv[0] in UNKILLABLE:
        return ""
    try:
        out, into = os.pipe()
    except OSError:
        return ""
    try:
        pid = os.fork()
    except OSError:
        os.close(out)
        os.close(into)
        return ""
    if pid == 0:
        become_program(program, argv, into)
    os.close(into)
    data, closed, gone, deadline = b"", False, False, time.monotonic() + timeout
    while not (gone and closed):
        gone = gone or has_ended(pid)
        if not closed and select.select([out], [], [], 0 if gone else 0.02)[0]:
            chunk = os.read(out, 65536)
            data, closed = data + chunk, not chunk
        elif gone:
            break  # A process that the program has started holds the pipe open.
        elif closed:
            time.sleep(0.001)
        if time.monotonic() > deadline or len(data) > MAX_OUTPUT:
            data = b""
            break
    os.close(out)
    if not (gone and closed):
        end_group(pid, gone, argv[0])
    return data.decode("utf-8", "replace")


def become_program(program, argv, output):
    """Run a program in this process, which is a child. Its stdout goes to the descriptor `output`."""
    try:
        os.setsid()  # so that the processes which it starts can be ended with it
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(null, 2)
        os.execv(program, argv)
    finally:
        os._exit(127)


def end_group(pid, gone, name):
    """Kill a program and the processes that it has started. A program that does not end is noted as unkillable."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    deadline = time.monotonic() + KILLED_WITHIN
    while not (gone or has_ended(pid)):
        if time.monotonic() > deadline:
            UNKILLABLE[name] = pid
            return
        time.sleep(0.005)


def has_ended(pid):
    """Reap a child if it has ended, and return whether it has."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except OSError:
        return True
