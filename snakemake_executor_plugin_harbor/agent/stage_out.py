"""Sends the files that an attempt has made to the controller."""

import hashlib
import itertools
import os
import stat

from harbor_stage_dir import LOG
from harbor_stage_in import DIRECTORY, FILE, LINK, Entry


class Unsafe(Exception):
    """A file that must not be copied."""


def fetch(stream, contents, base, paths, limit=None):
    """Send the files and directories at these paths. Paths that do not exist are left out.

    The number of the path stands in each entry. The last line says how it went. If there are more bytes than `limit`,
    nothing is sent but a line that says so.
    """
    if limit is not None and is_larger(base, paths, limit):
        stream.send_line({"large": True})
        stream.flush()
        return
    answer = {"done": True}
    for number, path in enumerate(paths):
        try:
            send_tree(stream, contents, base, number, Entry(path, FILE))
        except Unsafe as error:
            answer = {"error": "unsafe", "path": path, "message": str(error)}
        except OSError as error:
            answer = {"error": "node", "path": path, "message": str(error)}
        if "error" in answer:
            break
    stream.send_line(answer)
    stream.flush()


def is_larger(base, paths, limit):
    """Return whether the files at these paths have more bytes than `limit`."""
    for path in paths:
        top = os.path.join(base, Entry(path, FILE).path)
        inside = (os.path.join(above, name) for above, _, names in os.walk(top) for name in names)
        for file in itertools.chain([top], inside):
            try:
                status = os.lstat(file)
            except OSError:
                continue
            limit -= status.st_size if stat.S_ISREG(status.st_mode) else 0
            if limit < 0:
                return True
    return False


def send_tree(stream, contents, base, number, wanted):
    """Send what is at one path, with everything below it."""
    top = os.path.join(base, wanted.path)
    real = os.path.realpath(os.path.dirname(top))
    if not is_inside(real, os.path.realpath(base)):
        raise Unsafe("a directory above it is a link that leads to %r" % os.fsdecode(real))
    queue = [(top, b"")]
    while queue:
        path, inner = queue.pop()
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            if inner:
                raise
            return
        line = [number, inner.decode("utf-8", "surrogateescape")]
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            stream.send_line(line + [DIRECTORY, mode, status.st_mtime_ns, 0, ""])
            names = sorted(os.listdir(path), reverse=True)
            queue.extend((os.path.join(path, name), os.path.join(inner, name)) for name in names)
        elif stat.S_ISLNK(status.st_mode):
            target = target_inside(base, path).decode("utf-8", "surrogateescape")
            stream.send_line(line + [LINK, 0o777, status.st_mtime_ns, 0, target])
        elif stat.S_ISREG(status.st_mode):
            stream.send_line(line + [FILE, mode, status.st_mtime_ns, status.st_size, ""])
            send_file(stream, contents, path, status)
        else:
            raise Unsafe("it is a device, a pipe or a socket")


def target_inside(base, path):
    """Return the target of a link, relative to the link. Unsafe is raised if it is not in the attempt's directory."""
    target = os.readlink(path)
    whole = os.path.normpath(os.path.join(os.path.dirname(path), target))
    for root in (base, os.path.realpath(base)):
        if is_inside(whole, root):
            return target if not os.path.isabs(target) else os.path.relpath(whole, os.path.dirname(path))
    raise Unsafe("it is a link that leads out of the working directory, to %r" % os.fsdecode(target))


def send_file(stream, contents, path, status):
    """Send a content, then its sha256. The file goes into the cache, because later jobs may need it here."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", 0) as f:
        sent = stream.send_pieces(f, status.st_size, digest)
        stream.end_content()
        stream.send_line(digest.hexdigest())
        after = os.fstat(f.fileno())
    is_log = path.endswith(os.fsencode(LOG))
    is_whole = sent == after.st_size == status.st_size and after.st_mtime_ns == status.st_mtime_ns
    if is_whole and not is_log:
        mode = stat.S_IMODE(status.st_mode)
        contents.keep(path, Entry("kept", FILE, mode, status.st_mtime_ns, status.st_size, digest.hexdigest()))


def is_inside(path, root):
    return path == root or path.startswith(root.rstrip(b"/") + b"/")
