"""The working directory that all machines share, as seen from here: whether it is there now, and its free space."""

import os
import time

from harbor_processes import read_file

# A job that fails so soon after the directory was missing has failed because of that.
SHADOW = 10.0


class Workdir:
    """The controller's probe tells: a file with a token. Without a probe there is nothing to lose."""

    def __init__(self, welcome):
        probe = welcome.get("probe")
        probe = probe if isinstance(probe, dict) else {}
        self.file = probe.get("file") if isinstance(probe.get("file"), str) else None
        self.token = probe.get("token")
        self.path = welcome.get("workdir") or (os.path.dirname(self.file) if self.file else None)
        self.identity = None
        self.shared = True
        self.missed_at = None
        self.free_mb = None
        self.measure(False)

    def look(self, parted):
        """Whether the directory is there now. `parted`: the controller is gone, and its probe may be gone with it; then
        the directory that was there before is the same.
        """
        if self.file is None:
            return True
        self.shared = read_file(self.file).strip() == self.token
        if not self.shared and parted:
            self.shared = self.identity in (None, self.inode())
        if not self.shared:
            self.missed_at = time.time()
        return self.shared

    def missing_since(self, started, parted):
        """Whether it is missing, or was so shortly before now and while a job ran that began at `started`."""
        missing = not self.look(parted)
        return missing or (self.missed_at is not None and self.missed_at >= max(started, time.time() - SHADOW))

    def measure(self, parted):
        """Look at it, from time to time."""
        self.free_mb = None
        if self.look(parted) and self.path is not None:
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
