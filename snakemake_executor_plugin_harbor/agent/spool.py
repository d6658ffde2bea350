"""The files in the spool, a directory on the node's own disk. Each attempt has a record, an output and a script there.

An attempt's files are BASE plus the suffixes below. There is no directory per attempt, because making one is the most
expensive operation of ext4.
"""

import errno
import json
import os
import stat

from harbor_system import read_file
from harbor_wire import Fatal

RECORD = ".job"
OUTPUT = ".out"
SCRIPT = ".sh"
BLOCK = 4096
# Bytes that are appended to a record until its job has ended: pid, born, reason, code.
ENDING = 512
NUMBER = (int, float)
TYPES = {
    "pid": int, "born": str, "keepers": list, "steps": list, "scripts": int, "code": int, "start": NUMBER,
    "end": NUMBER, "runtime": NUMBER, "reason": str, "log": str, "stage": str, "exit": dict, "meta": dict,
    "keeper": list, "part": str,
}  # fmt: skip


def append_line(path, value, room=0):
    """Append a JSON value as one line in one write. After a power cut, a line that is not whole counts as absent.

    The line is padded with newlines so that at least `room` more bytes fit into the same block of the disk. Later
    appends of that size then succeed even on a full disk.
    """
    data = json.dumps(value).encode("ascii") + b"\n"
    left = -len(data) % BLOCK
    if left < room:
        data += b"\n" * (left + 1)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)


def read_record(path):
    """Return the facts of a record, in which later lines replace earlier ones.

    Lines that are not whole and values of a wrong type count as absent.
    """
    found = {}
    for line in read_file(path).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(value)
    return {name: value for name, value in found.items() if isinstance(value, TYPES.get(name, object))}


def remove_files(base):
    """Delete all files of an attempt.

    The record goes last. If this agent is killed before that, the next agent finds the record and deletes the rest.
    """
    for suffix in (OUTPUT, SCRIPT, RECORD):
        try:
            os.unlink(base + suffix)
        except OSError:
            pass


def private_directory(path):
    """Make a directory that only we can use, or check that it is one. Fatal is raised if it cannot be used.

    The check is needed because everybody can write to /var/tmp.
    """
    try:
        if not os.path.lexists(path):
            os.makedirs(path, 0o700, exist_ok=True)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise Fatal("scratch", "scratch %s is not a directory (or it is a link)" % path)
        if found.st_uid != os.getuid():
            raise Fatal("scratch", "scratch %s belongs to user %d" % (path, found.st_uid))
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(path, 0o700)
        trial = os.path.join(path, ".trial.%d" % os.getpid())
        try:
            with open(trial, "wb") as f:
                f.write(b"x")
        finally:
            if os.path.lexists(trial):
                os.unlink(trial)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise Fatal("scratch", "scratch %s cannot be used: %s" % (path, error.strerror or error))
        # The directory can still be read, and there may be room later.
        if not os.path.isdir(path):
            raise Fatal("full", "no room to make scratch %s" % path)
    return path


def free_bytes(path):
    """Return how many bytes we may still write on the disk of a directory.

    The directory may be missing, because another agent that ends removes it if it is empty. The next job makes it
    again. Then the directory above it counts.
    """
    while True:
        try:
            disk = os.statvfs(path)
        except OSError as error:
            if error.errno != errno.ENOENT or path == os.path.dirname(path):
                return 0
            path = os.path.dirname(path)
        else:
            return disk.f_bavail * disk.f_frsize
