"""Processes that a job leaves behind. When their parent ends they become children of the agent, their subreaper."""

import os

from harbor_helpers import GIVEN_UP
from harbor_processes import job_keys_of, read_file
from harbor_spool import OUTPUT


def children():
    """Our children: the shells of jobs, and orphans."""
    return {int(pid) for pid in read_file("/proc/self/task/%d/children" % os.getpid()).split()} - set(GIVEN_UP.values())


def left_by(record, others, members, look):
    """The orphans that a job which has ended, or one before it, can have left: not those of `others`, which go on.
    `members`: {key: {pid: start}} of an earlier look.

    Most carry the job's key, or lead to it in another way (`env -i setsid program`). What leads to no job belongs to
    one that ran when it began: while any such job goes on, it is left alone.
    """
    found = set()
    for pid in children() - {other.pid for other in others}:
        stat_ = look.table.get(pid)
        if stat_ is None or pid == record.pid:
            continue
        owner = owner_of(pid, stat_, [record] + others, members)
        if owner is record or (owner is None and not any(other.since <= stat_[4] for other in others)):
            found.add(pid)
    return found


def owner_of(pid, stat_, records, members):
    """The job to which an orphan certainly belongs; None if that cannot be told."""
    keys = job_keys_of(pid)
    outputs = set()
    for fd in (0, 1, 2):
        try:
            outputs.add(os.readlink("/proc/%d/fd/%d" % (pid, fd)))
        except OSError:
            pass
    for record in records:
        known = members.get(record.key, {}).get(pid) == stat_[4] or stat_[2] == record.pid
        if known or record.key.encode() in keys or record.base + OUTPUT in outputs:
            return record
    return None
