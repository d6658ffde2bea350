"""Puts the output of a job that has ended where the controller wants its log.

The file is linked if that is possible. Otherwise it is copied piece by piece, and messages are answered meanwhile.
"""

import os
import time

from harbor_process_table import our_identity, parent_and_birth
from harbor_spool import OUTPUT

PIECE = 1 << 20
COPY_TIME = 0.05  # seconds of copying before the connection is served again


def link_log(record):
    """Link the log to the output. Returns whether it is there now."""
    log = record.info.get("log")
    if not log:
        return False
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        if os.path.lexists(log):
            os.unlink(log)
        os.link(record.base + OUTPUT, log)
        os.chmod(log, default_mode())
    except OSError:
        return False
    return True


def default_mode():
    """Return the mode of a new file under the present umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def copy_log(record):
    """Copy the output. This generator yields after each piece, and raises OSError if the copy is not possible."""
    log = record.info["log"]
    part = "%s.%d.part" % (log, os.getpid())
    if os.stat(record.base + OUTPUT).st_size > PIECE:
        record.append(keeper=our_identity(), part=part)
    with open(record.base + OUTPUT, "rb") as f, open(part, "wb") as into:
        try:
            os.chmod(part, default_mode())
            for number, data in enumerate(iter(lambda: f.read(PIECE), b"")):
                if number:
                    yield
                into.write(data)
            into.close()
            os.rename(part, log)
        except BaseException:
            os.unlink(part)
            raise


def is_copied_by_another(record):
    """Return whether another agent, which is alive, copies the log now."""
    keeper = record.info.get("keeper")
    if record.info.get("kept") is not None or not isinstance(keeper, list) or keeper == our_identity():
        return False
    found = parent_and_birth(keeper[0]) if isinstance(keeper[0], int) else None
    return found is not None and found[1] == keeper[1]


class LogCopies:
    """The logs that are being copied. Only the log's own job has to wait for a large one."""

    def __init__(self):
        self.queue = []

    def begin(self, record):
        """Begin to copy the log of a job. `record.kept` is None afterwards if that takes more time."""
        if record.info.get("part"):
            try:
                os.unlink(record.info["part"])  # An agent that was killed has left it.
            except OSError:
                pass
        copy = copy_log(record)
        if not self.advance(record, copy):
            self.queue.append((record, copy))

    def advance(self, record, copy):
        """Copy one more piece. Returns whether it was the last one."""
        try:
            next(copy)
            return False
        except StopIteration:
            record.kept = True
        except OSError:
            record.kept = False
        record.append(kept=record.kept)
        return True

    def contains(self, record):
        return any(other is record for other, _ in self.queue)

    def copy_for_a_moment(self):
        """Copy for a moment, and return the records whose logs are complete or have failed."""
        done, until = [], time.monotonic() + COPY_TIME
        while self.queue and time.monotonic() < until:
            record, copy = self.queue.pop(0)
            if self.advance(record, copy):
                done.append(record)
            else:
                self.queue.append((record, copy))
        return done

    def drop(self, record):
        """Stop the copy of a log that nobody needs any more."""
        for pair in [pair for pair in self.queue if pair[0] is record]:
            self.queue.remove(pair)
            pair[1].close()
