"""Prepares a process of ours on a node: what it needs is checked, and what jobs inherit is set."""

import os
import sys

from harbor_wire import VERSION, Fatal


def check_node(welcome):
    """Raise Fatal if the controller speaks another version, or if nodes cannot run this system."""
    if welcome.get("v") != VERSION:
        raise Fatal("protocol", "the controller speaks version %r, this agent %d" % (welcome.get("v"), VERSION))
    if sys.platform.startswith(("win", "cygwin", "msys")):
        raise Fatal("platform", "nodes run Linux or macOS; this one is %s" % sys.platform)


def prepare_process(welcome):
    """Set umask, environment and niceness of this process, which all jobs inherit."""
    os.umask(int(welcome.get("umask", 0o022)))
    for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"):
        os.environ.pop(name, None)
    # A shell on the way here may have dropped these: dash drops the functions that bash exports.
    for name, value in (welcome.get("environment") or {}).items():
        os.environb[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
    # Under sshd, Debian's bash sources ~/.bashrc for every `bash -c` (if SHLVL < 2), which takes 100-200 ms per job.
    os.environ["SHLVL"] = "1"
    os.nice(int(welcome.get("nice", 0)))
