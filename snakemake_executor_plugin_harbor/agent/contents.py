"""The node's cache of file contents, which all runs of one user share.

A content is known by its sha256. It lies in a directory of that name, once for each pair of mode and modification time
that was asked for. Attempts get hard links to these files. So a file of 2 GB that fifty jobs need lies on the disk
once. A job may write to such a file, or change its mode. The file then no longer is what its name says, and counts as
absent.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import time

from harbor_spool import free_bytes

PART = b"part"
# Seconds: a part that nobody has continued for so long is deleted.
PART_AGE = 86400.0
# Bytes of the disk that stay free for what else the node does.
RESERVE = 16 << 20
FICLONE = 0x40049409


class NoRoom(Exception):
    """The disk has no room for what the attempt needs."""


class Changed(Exception):
    """What has arrived is not the content that was announced."""


class Contents:
    """`limit` is the number of bytes that the cache may have. What attempts use now counts, but is never deleted."""

    def __init__(self, directory, limit):
        self.directory = os.fsencode(directory)
        self.limit = limit
        self.total = None
        self.count = 0
        os.makedirs(os.path.join(self.directory, PART), 0o700, exist_ok=True)

    # --- what is there ---

    def place(self, sha):
        """Return the directory of a content."""
        return os.path.join(self.directory, sha[:2].encode(), sha.encode())

    def provide(self, entry, target):
        """Make the file of an entry at `target`, if its content is here. Returns whether it was made."""
        place = self.place(entry.sha)
        name = os.path.join(place, entry.variant())
        if not self.is_whole(name, entry):
            other = self.any_variant(place, entry)
            if other is None:
                return False
            if not entry.writable:
                self.copy(other, name, entry)
        else:
            other = name
        os.utime(place)  # It was used now.
        if entry.writable:
            self.copy(other, target, entry)
            return True
        try:
            os.link(name, target)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self.copy(name, target, entry)
        return True

    def is_whole(self, path, entry):
        """Return whether a file is what its name says. Otherwise it is deleted."""
        try:
            found = os.lstat(path)
        except OSError:
            return False
        variant = b"%o.%d" % (stat.S_IMODE(found.st_mode), found.st_mtime_ns)
        if stat.S_ISREG(found.st_mode) and found.st_size == entry.size and variant == os.path.basename(path):
            return True
        os.unlink(path)
        return False

    def any_variant(self, place, entry):
        """Return a file of the content with another mode or modification time, or None."""
        try:
            names = os.listdir(place)
        except OSError:
            return None
        paths = (os.path.join(place, name) for name in names)
        return next((path for path in paths if self.is_whole(path, entry)), None)

    def copy(self, source, target, entry):
        """Copy a file, and give the copy the mode and the modification time of the entry."""
        part = self.own_part()
        try:
            with open(source, "rb") as f, open(part, "wb") as into:
                try:
                    fcntl.ioctl(into.fileno(), FICLONE, f.fileno())
                except OSError:  # Most filesystems cannot share the blocks of two files.
                    shutil.copyfileobj(f, into, 1 << 20)
            self.finish(part, target, entry)
        except OSError as error:
            remove_file(part)
            raise NoRoom(str(error)) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error

    def finish(self, part, target, entry):
        """Give a file its mode, its time and its name."""
        os.chmod(part, entry.mode)
        os.utime(part, ns=(entry.mtime, entry.mtime))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(part, target)

    def own_part(self):
        self.count += 1
        return os.path.join(self.directory, PART, b"%d.%d" % (os.getpid(), self.count))

    # --- what arrives ---

    def open_part(self, sha):
        """Open the part of a content that is here, and return (file, path). Another mover may continue it already."""
        path = os.path.join(self.directory, PART, sha.encode())
        f = open(path, "a+b")
        try:
            fcntl.flock(f.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(f.fileno()).st_ino:
                return f, path
        except OSError:
            pass
        f.close()
        path = self.own_part()
        return open(path, "a+b"), path

    def offset(self, entry):
        """Return how many bytes of a content are here from a transfer that was cut."""
        try:
            return min(os.stat(os.path.join(self.directory, PART, entry.sha.encode())).st_size, entry.size)
        except OSError:
            return 0

    def receive(self, entry, offset, pieces):
        """Write a content that arrives from `offset` on. Changed is raised if it is not what was announced.

        All pieces are taken, whatever happens, because the next content follows them.
        """
        f, path = self.open_part(entry.sha)
        problem, digest = None, hashlib.sha256()
        with f:
            try:
                f.seek(0)
                copied = 0
                while copied < offset:
                    data = f.read(min(1 << 20, offset - copied))
                    if not data:
                        break
                    digest.update(data)
                    copied += len(data)
                if copied < offset:
                    problem = Changed("the part of it that was here has gone")
                f.truncate(copied)
            except OSError as error:
                problem = error
            size = offset
            for data in pieces:
                if problem is None:
                    try:
                        digest.update(data)
                        size += len(data)
                        if size > entry.size:
                            problem = Changed("it has grown")
                        elif data.startswith(b"\0") and data.count(0) == len(data):
                            f.truncate(size)  # a hole, because the file is written at its end
                        else:
                            f.write(data)
                            f.flush()
                    except OSError as error:
                        problem = error
            if problem is None and (size != entry.size or digest.hexdigest() != entry.sha):
                problem = Changed("its content is another one now")
            if problem is not None:
                # A part that was cut is kept, so that it is continued. This one is wrong, or needs room.
                remove_file(path)
                if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
                    problem = NoRoom(problem.strerror)
                raise problem
            self.finish(path, os.path.join(self.place(entry.sha), entry.variant()), entry)
        if self.total is not None:
            self.total += entry.size

    def keep(self, path, entry):
        """Take a file that a job has made into the cache. It costs no room."""
        target = os.path.join(self.place(entry.sha), entry.variant())
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.link(path, target)
        except OSError:
            return
        if self.total is not None:
            self.total += entry.size

    # --- room ---

    def make_room(self, size):
        """Delete what was not used for the longest time, so that `size` more bytes fit. NoRoom says that they do not.

        The limit only decides what is deleted. A job that needs more than the limit gets it, if the disk has it.
        """
        free = free_bytes(os.fsdecode(self.directory))
        if self.total is not None and self.total + size <= self.limit and free >= size + RESERVE:
            return
        files = self.scan()
        for _, length, path in sorted(files):
            if self.total + size <= self.limit and free >= size + RESERVE:
                break
            try:
                if os.lstat(path).st_nlink > 1:
                    continue  # An attempt uses it, so to delete it would free nothing.
                os.unlink(path)
            except OSError:
                continue
            self.total -= length
            free += length
            try:
                os.rmdir(os.path.dirname(path))
            except OSError:
                pass
        free = free_bytes(os.fsdecode(self.directory))
        if free < size + RESERVE:
            text = "%d MiB are needed and %d MiB are free on the disk of %s"
            raise NoRoom(text % ((size >> 20) + 1, max(0, free - RESERVE) >> 20, os.fsdecode(self.directory)))

    def scan(self):
        """Return (last use, size, path) of every file, and count the bytes of all."""
        found, self.total = [], 0
        part = os.path.join(self.directory, PART)
        for top, _, names in os.walk(self.directory):
            used = os.stat(top).st_mtime if os.path.isdir(top) else 0.0
            for name in names:
                path = os.path.join(top, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if top == part:
                    if status.st_mtime < time.time() - PART_AGE:
                        remove_file(path)
                    continue
                found.append((used, status.st_size, path))
                self.total += status.st_size
        return found


def remove_file(path):
    try:
        os.unlink(path)
    except OSError:
        pass
