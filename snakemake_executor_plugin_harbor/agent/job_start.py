"""Starts the shell of a job, or finds out why that is impossible: because of the job, or because of the node."""

import errno
import os

from harbor_process_control import start_process
from harbor_programs import which
from harbor_spool import OUTPUT, SCRIPT
from harbor_wire import Fatal

LONG_SCRIPT = 100000
# Errors of a shell that would not start on any node.
UNFIT = (errno.E2BIG, errno.ENOEXEC, errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR)
# Errors of a node that has run out of processes, memory or open files.
EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Refused(Exception):
    """The job is not started here. `facts` go into the `refused` message."""

    def __init__(self, reason, **facts):
        Exception.__init__(self, facts.get("message", reason))
        self.facts = dict(facts, reason=reason)


def refusal_of(error):
    """Return the facts of the `refused` message for an error: `reason`, and `message` or `path`."""
    if isinstance(error, Refused):
        return error.facts
    text = "%s: %s" % (type(error).__name__, error)
    if isinstance(error, Fatal):  # Scratch cannot be used any more.
        cause = error.__context__
        return dict(refusal_of(cause if isinstance(cause, OSError) else OSError(text)), message=text[:500])
    if isinstance(error, OSError):
        reason = "disk" if error.errno in DISK_FULL else "fork" if error.errno in EXHAUSTED else "error"
        text = "%s: %s" % (reason, error)
    elif isinstance(error, MemoryError):
        reason = "fork"
    else:  # The start message made no sense, and would make none to another agent.
        reason = "job" if isinstance(error, Exception) else "error"
    return {"reason": reason, "message": text[:500]}


def require_paths(spec):
    """Raise Refused if a path that the job needs does not exist here."""
    for path in [spec["cwd"], which(spec["shell"]) or spec["shell"]] + spec["needs"]:
        if not os.path.exists(path):
            raise Refused("missing", path=path)


def start_script(base, key, spec, script):
    """Start the shell of one script and return its pid. Refused or OSError is raised if that is impossible."""
    shell, cwd = spec["shell"], spec["cwd"]
    script = script.encode("utf-8", "surrogateescape")
    argv = [os.fsencode(shell), b"-c", script]
    if len(script) > LONG_SCRIPT:
        # The kernel takes at most 128 KiB in one argument.
        with open(base + SCRIPT, "wb") as f:
            f.write(script + b"\n")
        argv[1:] = [os.fsencode(f.name)]
    os.close(os.open(base + OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    try:
        os.chdir(cwd)  # posix_spawn() cannot do that for the child, and we have only one thread.
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise Refused("missing", path=cwd)
        if error.errno in UNFIT and error.errno != errno.EACCES:
            raise Refused("job", message="the working directory %s: %s" % (cwd, error.strerror))
        raise
    try:
        return start_process(which(shell) or shell, argv, environment_for(key, spec), base + OUTPUT)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Refused("missing", path=shell)
        if error.errno in UNFIT:
            raise Refused("job", message="the shell %s does not start: %s" % (shell, error.strerror))
        raise
    finally:
        os.chdir("/")


def environment_for(key, spec):
    """Return the environment of a job: this agent's, changed by the start message."""
    env = dict(os.environb)
    for name, value in spec["env"].items():
        if value is None:
            env.pop(os.fsencode(name), None)
        else:
            env[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
    env[b"HARBOR_JOB_KEY"] = key.encode()
    env[b"PWD"] = os.fsencode(spec["cwd"])  # as the user typed it, because automounters need that form
    return env
