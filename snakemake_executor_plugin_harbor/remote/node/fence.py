"""What controller and agent tell each other without a connection, in a directory that both see.

The controller leaves a fence for an attempt that it has given up. The agent leaves word of an attempt that has ended
while nobody could be told, so that it need not run again.
"""

import json
import os
import time

# Ends that say nothing of the job: it runs again in any case.
VOID = ("lost", "fenced", "cancelled", "shutdown", "unshared")


class Fence:
    """The directory; None: there is none, or it cannot be seen from here."""

    def __init__(self, directory):
        self.directory = directory
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
        fenced = self.names
        names = [(record, record.job.replace("/", ".")) for record in records] if fenced else []
        return [record for record, name in names if fenced & {"%s.%d" % (name, record.attempt), name + ".all"}]

    def leave_word(self, record, message):
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
