"""A job's output goes where the controller wants it: linked, else copied piece by piece while messages are answered."""

import os
import time

from harbor_processes import born
from harbor_spool import OUTPUT

PIECE = 1 << 20
TURN = 0.05  # seconds of copying between two looks at the connection


def our_identity():
    """What tells this process from a later one of the same pid."""
    found = born(os.getpid())
    return [os.getpid(), found[1] if found else None]


def link_log(record):
    """Whether the output is where it is wanted now, without having been copied."""
    log = record.info.get("log")
    if not log:
        return False
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        if os.path.lexists(log):
            os.unlink(log)
        os.link(record.base + OUTPUT, log)
        os.chmod(log, readable())
    except OSError:
        return False
    return True


def readable():
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def copy_log(record):
    """Copy the output; yields after each piece. OSError if that cannot be."""
    log = record.info["log"]
    part = "%s.%d.part" % (log, os.getpid())
    if os.stat(record.base + OUTPUT).st_size > PIECE:
        record.add(keeper=our_identity(), part=part)
    with open(record.base + OUTPUT, "rb") as f, open(part, "wb") as into:
        try:
            os.chmod(part, readable())
            for number, data in enumerate(iter(lambda: f.read(PIECE), b"")):
                if number:
                    yield
                into.write(data)
            into.close()
            os.rename(part, log)
        except BaseException:
            os.unlink(part)
            raise


class Copies:
    """Logs that are being copied. Nobody waits for a large one but its own job."""

    def __init__(self):
        self.queue = []

    def begin(self, record):
        """Copy the log of a job that has ended: `record.kept` says whether it is there; None: that takes some time."""
        if record.info.get("part"):
            try:
                os.unlink(record.info["part"])  # of an agent that was killed
            except OSError:
                pass
        copy = copy_log(record)
        if not self.advance(record, copy):
            self.queue.append((record, copy))

    def advance(self, record, copy):
        """One piece more. Whether that was the last."""
        try:
            next(copy)
            return False
        except StopIteration:
            record.kept = True
            record.add(kept=True)
        except OSError:
            record.kept = False
            record.add(kept=False)
        return True

    def are_at(self, record):
        return any(other is record for other, _ in self.queue)

    def turn(self):
        """Copy for a moment. Returns the records whose log is done."""
        done, until = [], time.monotonic() + TURN
        while self.queue and time.monotonic() < until:
            record, copy = self.queue.pop(0)
            if self.advance(record, copy):
                done.append(record)
            else:
                self.queue.append((record, copy))
        return done

    def drop(self, record):
        """Its log is of no use any more."""
        for pair in [pair for pair in self.queue if pair[0] is record]:
            self.queue.remove(pair)
            pair[1].close()


def kept_by_another(record):
    """Whether another agent, which lives, copies the log at this moment."""
    keeper = record.info.get("keeper")
    if record.info.get("kept") is not None or not isinstance(keeper, list) or keeper == our_identity():
        return False
    found = born(keeper[0]) if isinstance(keeper[0], int) else None
    return found is not None and found[1] == keeper[1]
