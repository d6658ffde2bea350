"""Answers what only `harbor clean` asks: which records of attempts lie in the spool, for which working directories.

It also removes records. Those of attempts that run, or that may be starting, are never removed.
"""

import os
import time

from harbor_attempts import FILE_NAME, NAME
from harbor_record import Record
from harbor_spool import OUTPUT, RECORD, SCRIPT, read_record

# Seconds: an attempt without an end whose record was written within this time may be starting its next script.
STARTING = 60.0
OWNERS_MAX = 500


def inventory(attempts, owners):
    """Remove the records of these owners, and return what is left, one entry per owner.

    An owner is the id of a working directory.
    """
    found = {}
    for record in every_record(attempts.spool):
        owner, where = record.info.get("owner"), record.info.get("where")
        busy = is_busy(record)
        if owner in owners and not busy:
            attempts.records.pop((record.job, record.attempt), None)
            attempts.delete(record)
            continue
        workdir = where[0] if isinstance(where, list) and where and isinstance(where[0], str) else ""
        entry = found.setdefault(owner, {"owner": owner, "workdir": workdir, "attempts": 0, "busy": 0, "bytes": 0,
                                         "changed": 0.0})  # fmt: skip
        entry["attempts"] += 1
        entry["busy"] += busy
        entry["bytes"] += size(record.base)
        entry["changed"] = max(entry["changed"], record.changed_at())
    if owners:
        attempts.remove_empty_directories()
    return sorted(found.values(), key=lambda entry: -entry["bytes"])[:OWNERS_MAX]


def every_record(spool):
    """Yield the Record of each attempt in the spool, of whatever working directory."""
    for run in sorted(os.listdir(spool)) if os.path.isdir(spool) else []:
        base = os.path.join(spool, run)
        if not NAME.match(run) or os.path.islink(base) or not os.path.isdir(base):
            continue
        for name in sorted(os.listdir(base)):
            match = FILE_NAME.match(name)
            path = os.path.join(base, name)
            if match is not None:
                job = "%s/%s" % (run, match.group(1))
                yield Record(path[: -len(RECORD)], job, int(match.group(2)), read_record(path))


def is_busy(record):
    """Return whether an attempt may still do something: it runs, or it is between two scripts."""
    if record.exit is not None or record.info.get("forgotten") or record.last_script_ended():
        return False
    return record.process() is not None or time.time() - record.changed_at() < STARTING


def size(base):
    """Return how many bytes the files of an attempt have."""
    total = 0
    for suffix in (RECORD, OUTPUT, SCRIPT):
        try:
            total += os.stat(base + suffix).st_size
        except OSError:
            pass
    return total
