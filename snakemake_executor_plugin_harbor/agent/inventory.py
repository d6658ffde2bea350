"""Answers what only `harbor clean` asks: which records of attempts lie in the spool, for which working directories.

It also removes records. Those of attempts that run, or that may be starting, are never removed.
"""

import os
import time

from harbor_attempts import FILE_NAME, NAME
from harbor_record import Record
from harbor_spool import OUTPUT, RECORD, SCRIPT, read_record
from harbor_stage_dir import remove_tree, size_of, stage_path, without_record

# Seconds: an attempt without an end whose record was written within this time may be starting its next script.
STARTING = 60.0
OWNERS_MAX = 500


def inventory(attempts, owners):
    """Remove the records of these owners, and return what is left, one entry per owner.

    An owner is the id of a working directory. The directory of an attempt that never started counts as one more record.
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
        stage = record.info.get("stage")
        total = size(record.base) + (size_of(stage_path(attempts.scratch, stage)) if stage else 0)
        add(found, owner, workdir, busy, total, record.changed_at())
    for owner, path in without_record(attempts.scratch):
        changed = os.lstat(path).st_mtime
        busy = time.time() - changed < STARTING  # It may get its files now.
        if owner in owners and not busy:
            remove_tree(path)
        else:
            add(found, owner, "", busy, size_of(path), changed)
    if owners:
        attempts.remove_empty_directories()
    return sorted(found.values(), key=lambda entry: -entry["bytes"])[:OWNERS_MAX]


def add(found, owner, workdir, busy, total, changed):
    """Add an attempt to the entry of its owner."""
    entry = found.setdefault(owner, {"owner": owner, "workdir": workdir, "attempts": 0, "busy": 0, "bytes": 0,
                                     "changed": 0.0})  # fmt: skip
    entry["workdir"] = entry["workdir"] or workdir
    entry["attempts"] += 1
    entry["busy"] += busy
    entry["bytes"] += total
    entry["changed"] = max(entry["changed"], changed)


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
