"""Collects what the agent tells about its node in the hello message."""

import os
import pwd
import sys
import time

from harbor_capacity import memory
from harbor_process_control import SUBREAPER
from harbor_queries import gpus
from harbor_software import snakemake


def node_facts(welcome, scratch):
    """Return the part of hello that describes the node, apart from its cores."""
    tmpdir = next((os.environ[n] for n in ("TMPDIR", "TEMP", "TMP") if os.environ.get(n)), "/tmp")
    return {
        "python": "%d.%d.%d" % sys.version_info[:3], "host": os.uname()[1], "user": user_name(), "uid": os.getuid(),
        "platform": sys.platform, "mem_mb": memory()[0], "gpus": gpus(scratch), "same": shared_paths(welcome),
        "tmpdir": tmpdir, "path": os.environ.get("PATH", ""), "time": time.time(), "warnings": warnings(),
        "interpreter": interpreter(welcome), "snakemake": snakemake(welcome),
    }  # fmt: skip


def interpreter(welcome):
    """Return the Python for scripts here: the controller's own if its path leads to a program here, else ours."""
    path = welcome.get("python")
    return path if path and os.path.isfile(path) and os.access(path, os.X_OK) else sys.executable


def user_name():
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def shared_paths(welcome):
    """Return which of the controller's paths outside the working directory are the same files here."""
    found = []
    for path, inode, mtime in welcome.get("same") or []:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue
        if status.st_ino == inode and status.st_mtime_ns == mtime:
            found.append(path)
    return found


def warnings():
    """Return what the user should know about this node, one sentence each."""
    found = []
    if not os.path.exists("/proc/stat"):
        found.append("there is no /proc here, so the load average is taken as the load")
    if not SUBREAPER:
        found.append("this system has no subreaper, so daemons that jobs start are found by their environment only")
    return found
