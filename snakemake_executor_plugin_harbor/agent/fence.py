"""Exchanges facts with the controller without a connection, by files in a directory that both see.

The controller leaves a fence for each attempt that it has given up. The agent leaves an exit notice for each attempt
that has ended while it could not tell the controller, so that the attempt need not run again. The file `id` beside the
directory names the owner of the working directory. If that is another owner than ours, `.snakemake` was deleted or
replaced, and so all attempts that we run are given up.
"""

import json
import os
import time

NOTICE = ".word"
READ_EVERY = 2.0  # seconds
# Ends with these reasons say nothing about the job, which runs again in any case. So no notice is left.
NO_NOTICE = ("lost", "fenced", "cancelled", "shutdown", "unshared")


def attempt_name(job, attempt):
    """Return the name of the fence for an attempt, or for every attempt of the job if `attempt` is "all"."""
    return "%s.%s" % (job.replace("/", "."), attempt)


class Fence:
    """The directory. It is None if there is none, or if it cannot be seen from here."""

    def __init__(self, directory, owner=None):
        self.directory = directory
        self.owner = owner
        self.disowned = False
        self.names = set()
        self.read_at = None

    def given_up(self, records, max_age=0.0):
        """Return those records whose attempts the controller has given up.

        The directory is read again if it was last read more than `max_age` seconds ago.
        """
        now = time.monotonic()
        if records and self.directory and (self.read_at is None or now - self.read_at >= max_age):
            self.read_at = now
            try:
                self.names = set(os.listdir(self.directory))
            except OSError:
                self.names = set()
            self.disowned = self.present_owner() not in (None, self.owner)
        records = [record for record in records if record.info.get("owner") == self.owner or not self.disowned]
        if self.disowned:
            return records
        if not self.names:
            return []
        names = ((record, attempt_name(record.job, "")) for record in records)
        return [record for record, name in names if self.names & {name + str(record.attempt), name + "all"}]

    def present_owner(self):
        """Return the owner in the file `id`, or None if the file cannot be read or is not whole."""
        try:
            with open(os.path.join(os.path.dirname(self.directory), "id"), "rb") as f:
                found = json.loads(f.read(4096).decode("utf-8"))
        except (OSError, ValueError):
            return None
        found = found.get("id") if isinstance(found, dict) else None
        return found if isinstance(found, str) and self.owner else None

    def leave_exit_notice(self, record, message):
        """Write how an attempt has ended, once. `message` is its `known` message."""
        if record.exit_notice_left or not self.directory or record.exit.get("reason") in NO_NOTICE:
            return
        path = os.path.join(self.directory, attempt_name(record.job, record.attempt) + NOTICE)
        part = "%s.%d" % (path, os.getpid())
        try:
            if not os.path.isdir(self.directory):
                os.mkdir(self.directory)
            with open(part, "wb") as f:
                f.write(json.dumps(message).encode("ascii") + b"\n")
            os.rename(part, path)
            record.exit_notice_left = True
        except OSError:
            pass
