"""What is asked of a node to start a job, and why that cannot be: the job's fault, or the node's."""

import errno
import os
import re

from harbor_helpers import which
from harbor_processes import start_process
from harbor_spool import OUTPUT, SCRIPT
from harbor_wire import Fatal

LONG_SCRIPT = 100000
# What a shell does that no node could run.
UNFIT = (errno.E2BIG, errno.ENOEXEC, errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR)
SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
FULL = (errno.ENOSPC, errno.EDQUOT)


class Refused(Exception):
    """The job does not start here; `facts` are what the controller is told."""

    def __init__(self, reason, **facts):
        Exception.__init__(self, facts.get("message", reason))
        self.facts = dict(facts, reason=reason)


def refusal_of(error):
    """Why a job was not started: `reason`, `message`, `path`."""
    if isinstance(error, Refused):
        return error.facts
    text = "%s: %s" % (type(error).__name__, error)
    if isinstance(error, Fatal):  # scratch has become unusable
        cause = error.__context__
        return dict(refusal_of(cause if isinstance(cause, OSError) else OSError(text)), message=text[:500])
    if isinstance(error, OSError):
        reason = "disk" if error.errno in FULL else "fork" if error.errno in SHORT else "error"
        text = "%s: %s" % (reason, error)
    elif isinstance(error, MemoryError):
        reason = "fork"
    else:  # its message was not what we can work with, and no other agent could
        reason = "job" if isinstance(error, Exception) else "error"
    return {"reason": reason, "message": text[:500]}


def text(value, name):
    """A value that has to be text without NUL: the kernel ends every string there."""
    if not isinstance(value, str):
        raise TypeError("%s is not text: %.100r" % (name, value))
    if "\0" in value:
        raise ValueError("%s contains a NUL byte (embedded null byte)" % name)
    value.encode("utf-8", "surrogateescape")
    return value


def checked(message):
    """A start message that makes sense, whatever the node. ValueError or TypeError if it does not."""
    scripts, env, needs = message["scripts"], message.get("env") or {}, message.get("needs") or []
    if not isinstance(scripts, list) or not scripts or not isinstance(needs, list) or not isinstance(env, dict):
        raise TypeError("scripts and needs have to be lists, env an object")
    for script in scripts:
        text(script, "the script")
    for path in needs:
        text(path, "a path that the job needs")
    for name, value in env.items():
        if not text(name, "the name of a variable") or "=" in name:
            raise ValueError("a variable cannot be called %.100r" % name)
        if value is not None:
            text(value, "the variable %s" % name)
    text(message["cwd"], "cwd")
    for name in ("shell", "log"):
        if message.get(name) is not None:
            text(message[name], name)
    if message.get("runtime"):
        float(message["runtime"])
    if message.get("progress"):
        try:
            pattern_of(message["progress"])
        except Exception as error:
            raise ValueError("the progress pattern %.200r is none: %s" % (message["progress"], error))
    return dict(message, env=env, needs=needs, shell=shell_of(message.get("shell") or "/bin/sh"))


def pattern_of(expression):
    pattern = re.compile(expression.encode("utf-8"))
    if pattern.groups < 2:
        raise ValueError("it has %d groups; two are needed: done and total" % pattern.groups)
    return pattern


def shell_of(name):
    """The controller's path of the shell, else the node's own of that name; by the name that was given, for $0."""
    if which(name) is None or not os.path.exists(which(name)):
        return which(os.path.basename(name)) or name
    return name


def demand(spec):
    """Refused if a path that the job needs is not here."""
    for path in [spec["cwd"], which(spec["shell"]) or spec["shell"]] + spec["needs"]:
        if not os.path.exists(path):
            raise Refused("missing", path=path)


def start_script(base, key, spec, script):
    """Start the shell of one script; its pid. Refused or OSError if that cannot be."""
    shell, cwd = spec["shell"], spec["cwd"]
    script = script.encode("utf-8", "surrogateescape")
    argv = [os.fsencode(shell), b"-c", script]
    if len(script) > LONG_SCRIPT:
        # The kernel takes at most 128 KiB in one argument.
        with open(base + SCRIPT, "wb") as f:
            f.write(script + b"\n")
        argv[1:] = [os.fsencode(f.name)]
    env = dict(os.environb)
    for name, value in spec["env"].items():
        if value is None:
            env.pop(os.fsencode(name), None)
        else:
            env[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
    env[b"HARBOR_JOB_KEY"] = key.encode()
    env[b"PWD"] = os.fsencode(cwd)  # as typed: automounters do not like resolved names
    os.close(os.open(base + OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    try:
        os.chdir(cwd)  # posix_spawn has no such action, and we are single-threaded
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Refused("missing", path=cwd)
        if error.errno in UNFIT and error.errno != errno.EACCES:
            raise Refused("job", message="the working directory %s: %s" % (cwd, error.strerror))
        raise
    try:
        return start_process(which(shell) or shell, argv, env, base + OUTPUT)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Refused("missing", path=shell)
        if error.errno in UNFIT:
            raise Refused("job", message="the shell %s does not start: %s" % (shell, error.strerror))
        raise
    finally:
        os.chdir("/")
