"""What controller and agent tell each other without a connection, in a directory that both see.

The controller leaves a fence for an attempt that it has given up. The agent leaves word of an attempt that has ended
while nobody could be told, so that it need not run again. The file `id` beside the directory names its owner: if that
is another one than ours, `.snakemake` was deleted or replaced, and all that we run is given up.
"""

import json
import os
import time

# Ends that say nothing of the job: it runs again in any case.
VOID = ("lost", "fenced", "cancelled", "shutdown", "unshared")


class Fence:
    """The directory; None: there is none, or it cannot be seen from here."""

    def __init__(self, directory, owner=None):
        self.directory = directory
        self.owner = owner
        self.disowned = False
        self.names = set()
        self.looked_at = None

    def given_up(self, records, age=0.0):
        """Those of the records that the controller gave up while it could not reach us, as of `age` seconds ago."""
        now = time.monotonic()
        if records and self.directory and (self.looked_at is None or now - self.looked_at >= age):
            self.looked_at = now
            try:
                self.names = set(os.listdir(self.directory))
            except OSError:
                self.names = set()
            self.disowned = self.owner_now() not in (None, self.owner)
        records = [record for record in records if record.info.get("owner") == self.owner or not self.disowned]
        if self.disowned:
            return records
        fenced = self.names
        names = [(record, record.job.replace("/", ".")) for record in records] if fenced else []
        return [record for record, name in names if fenced & {"%s.%d" % (name, record.attempt), name + ".all"}]

    def owner_now(self):
        """The id in the file; None if it cannot be read, or is not whole."""
        try:
            with open(os.path.join(os.path.dirname(self.directory), "id"), "rb") as f:
                found = json.loads(f.read(4096).decode("utf-8"))
        except (OSError, ValueError):
            return None
        found = found.get("id") if isinstance(found, dict) else None
        return found if isinstance(found, str) and self.owner else None

    def leave_exit_notice(self, record, message):
        """How an attempt ended, once."""
        if record.word_left or not self.directory or record.exit.get("reason") in VOID:
            return
        path = os.path.join(self.directory, "%s.%d.word" % (record.job.replace("/", "."), record.attempt))
        part = "%s.%d" % (path, os.getpid())
        try:
            if not os.path.isdir(self.directory):
                os.mkdir(self.directory)
            with open(part, "wb") as f:
                f.write(json.dumps(message).encode("ascii") + b"\n")
            os.rename(part, path)
            record.word_left = True
        except OSError:
            pass
