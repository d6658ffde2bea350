"""Decides which of a controller's agents may start jobs on a node: only the one that was started last.

A controller that loses a connection makes another one, and with it a new agent. The old agent may live on for as long
as its end of the connection seems whole. When the network heals, the old agent may still receive a start message, long
after the new agent has reported that it does not know that attempt.

The agents of one controller for one node share a small file in scratch. Each writes its name there before it lists what
the spool holds. An agent that finds another name there, after it has made a record, starts nothing. So each attempt is
either listed by the later agent, or it never starts.
"""

import fcntl
import os

# The module hashlib loads OpenSSL, which takes 2 ms of the 45 ms until hello. Python has its own SHA-256 besides: in
# _sha2 since 3.12, in _sha256 before.
try:
    from _sha2 import sha256
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

SIZE = 64
# Seconds for which an agent keeps its connection after a later agent has come.
LINGER = 10.0


class LatestAgent:
    """The file. Each agent that has it open holds a shared lock on it, and the last one can make its lock exclusive."""

    def __init__(self, directory, owners, name):
        """`name` distinguishes this agent, with its guardian, from all others.

        `owners` are the controller and its name for the node. Both are needed because two nodes of a pool may be one
        machine, or may share scratch.
        """
        digest = sha256(repr(owners).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = os.path.join(directory, "turn-" + digest)
        self.name = name.encode("ascii").ljust(SIZE)[:SIZE]
        self.fd = None
        self.before = b""
        self.another_since = None
        try:
            while self.fd is None:
                self.open()
            self.before = self.content()
            os.pwrite(self.fd, self.name, 0)
        except OSError:
            pass  # The disk is full. Any content but the present one is a later agent's name.

    def open(self):
        """Open and lock the file. `fd` stays None if the last agent has removed the file in between."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.exists(self.path) and os.path.samestat(os.fstat(fd), os.stat(self.path)):
                self.fd, fd = fd, None
        finally:
            if fd is not None:
                os.close(fd)

    def is_another(self):
        """Return whether a later agent has come."""
        return self.content() not in (self.name, self.before)

    def content(self):
        """Return the name in the file. It is empty if there is no file, because the disk was full."""
        if self.fd is not None:
            return os.pread(self.fd, SIZE, 0)
        try:
            with open(self.path, "rb") as f:
                return f.read(SIZE)
        except OSError:
            return b""

    def has_replaced_us(self, now):
        """Return whether a later agent has been here for LINGER seconds.

        A controller has one connection per node. So ours is dead, although no end of it has arrived: after a long
        partition that may take minutes, or two hours if the other side has given up.
        """
        if self.another_since is None and self.is_another():
            self.another_since = now
        return self.another_since is not None and now - self.another_since >= LINGER

    def leave(self):
        """Give the file back when this agent ends. The last agent removes it."""
        if self.fd is None:
            return
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(self.fd), os.stat(self.path)):
                os.unlink(self.path)
        except OSError:
            pass
        os.close(self.fd)
        self.fd = None
