"""Which agent of a controller may start jobs on a node: the one that was started last.

A controller that loses a connection makes another one, and a new agent. The old agent may live on for as long as its
end of the connection seems whole. When the network heals, it may still deliver a start message to the old agent, long
after the new one has said that it does not know that attempt.

The agents of one controller for one node share a small file in scratch. Each writes its name there before it lists what
the spool holds. An agent that finds another name, after it has made a record, starts nothing. So each attempt is either
listed by the later agent or never starts.
"""

import fcntl
import hashlib
import os

SIZE = 64


class Turn:
    """Everybody who has the file open holds a shared lock on it. Who can make the lock exclusive is the last."""

    def __init__(self, directory, whose, name):
        """`whose` are the controller and its name for the node, because two nodes of a pool may be one machine, or may
        share scratch. `name` tells this agent, with its guardian, from all others.
        """
        digest = hashlib.sha256(repr(whose).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = os.path.join(directory, "turn-" + digest)
        self.name = name.encode("ascii").ljust(SIZE)[:SIZE]
        self.fd = None
        self.named = False
        try:
            while self.fd is None:
                self.take()
            os.pwrite(self.fd, self.name, 0)
            self.named = True
        except OSError:
            pass  # A full disk: whether another agent came later cannot be known.

    def take(self):
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.path.exists(self.path) and os.path.samestat(os.fstat(fd), os.stat(self.path)):
                self.fd, fd = fd, None
        finally:
            if fd is not None:
                os.close(fd)  # the last agent removed the file in between

    def over(self):
        """Whether a later agent has taken over."""
        return self.named and os.pread(self.fd, SIZE, 0) != self.name

    def leave(self):
        """This agent ends. The last one removes the file."""
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
