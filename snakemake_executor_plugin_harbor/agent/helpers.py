"""Programs of the node that tell us something: they are started, read and given up within bounds."""

import os
import select
import signal
import time

MOST = 1 << 20  # bytes that are read of what a program prints
KILLED_WITHIN = 1.0
# {name: pid} of children that could not be ended (uninterruptible sleep: a broken driver). They are not started again.
GIVEN_UP = {}


def which(name):
    """The path of a program; None if PATH has none of that name."""
    if "/" in name:
        return name
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def output_of(argv, timeout):
    """What a program prints; "" if it is not there, or takes longer than `timeout` seconds."""
    program = which(argv[0])
    if program is None or argv[0] in GIVEN_UP:
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
        try:
            os.setsid()  # so that what it starts can be ended with it
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(into, 1)
            os.dup2(null, 2)
            os.execv(program, argv)
        finally:
            os._exit(127)
    os.close(into)
    data, closed, gone, deadline = b"", False, False, time.monotonic() + timeout
    while not (gone and closed):
        gone = gone or has_ended(pid)
        if not closed and select.select([out], [], [], 0 if gone else 0.02)[0]:
            chunk = os.read(out, 65536)
            data, closed = data + chunk, not chunk
        elif gone:
            break  # a process that it has started holds the pipe open
        elif closed:
            time.sleep(0.001)
        if time.monotonic() > deadline or len(data) > MOST:
            data = b""
            break
    os.close(out)
    if not (gone and closed):
        end_group(pid, gone, argv[0])
    return data.decode("utf-8", "replace")


def end_group(pid, gone, name):
    """Kill a program and what it has started. A program that does not end is given up."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    deadline = time.monotonic() + KILLED_WITHIN
    while not (gone or has_ended(pid)):
        if time.monotonic() > deadline:
            GIVEN_UP[name] = pid
            return
        time.sleep(0.005)


def has_ended(pid):
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except OSError:
        return True
