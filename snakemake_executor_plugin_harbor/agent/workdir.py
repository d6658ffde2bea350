"""Watches the working directory that all machines share: whether it is here now, and how much space is free."""

import os
import time

from harbor_system import read_file

# Seconds: if a job fails so soon after the directory was missing, it has failed because of that.
BLAME_WITHIN = 10.0


class Workdir:
    """The working directory as this node sees it.

    The controller has put a probe into it, which is a file with a token. If there is no probe, the directory need not
    be here and counts as present.
    """

    def __init__(self, welcome):
        probe = welcome.get("probe")
        probe = probe if isinstance(probe, dict) else {}
        self.probe = probe.get("file") if isinstance(probe.get("file"), str) else None
        self.token = probe.get("token")
        self.path = welcome.get("workdir") or (os.path.dirname(self.probe) if self.probe else None)
        self.identity = None
        self.shared = True
        self.missing_at = None
        self.free_mb = None
        self.measure()

    def is_present(self, disconnected=False):
        """Return whether the directory is here now.

        `disconnected` says that the controller is gone. Its probe may be gone with it, so then it is enough that the
        directory is the one that was here before.
        """
        if self.probe is None:
            return True
        self.shared = read_file(self.probe).strip() == self.token
        if not self.shared and disconnected:
            self.shared = self.identity in (None, self.inode())
        if not self.shared:
            self.missing_at = time.time()
        return self.shared

    def was_missing(self, started, disconnected):
        """Return whether it is missing, or was missing shortly before while a job ran that began at `started`."""
        missing = not self.is_present(disconnected)
        return missing or (self.missing_at is not None and self.missing_at >= max(started, time.time() - BLAME_WITHIN))

    def measure(self):
        """Look whether it is here, and measure its free space. This is called from time to time."""
        self.free_mb = None
        if self.is_present() and self.path is not None:
            self.identity = self.inode() or self.identity
            try:
                disk = os.statvfs(self.path)
                self.free_mb = disk.f_bavail * disk.f_frsize >> 20
            except OSError:
                pass

    def inode(self):
        try:
            return os.stat(self.path).st_ino
        except OSError:
            return None
