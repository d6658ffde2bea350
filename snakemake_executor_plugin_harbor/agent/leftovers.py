"""Ends the processes that a job leaves behind, as a batch system does.

When the parent of such a process ends, the process becomes a child of the agent, which is its subreaper.
"""

import os
import signal
import time

from harbor_process_control import signal_all, signal_group
from harbor_process_table import ProcessTable, job_keys_of
from harbor_programs import UNKILLABLE
from harbor_spool import OUTPUT
from harbor_system import PROC, read_file

GRACE = 1.0  # seconds between TERM and KILL


def children():
    """Return the pids of our children, which are the shells of jobs, and orphans."""
    found = {int(pid) for pid in read_file("/proc/self/task/%d/children" % os.getpid()).split()}
    return found - set(UNKILLABLE.values())


def orphans_of(record, others, members, table):
    """Return the orphans that a job which has ended, or one before it, may have left, but not those of `others`.

    `others` are the jobs that go on. `members` is {attempt key: {pid: start}} of an earlier look.

    Most orphans carry the job's key, or lead to the job in another way (`env -i setsid program`). An orphan that leads
    to no job belongs to one that ran when the orphan began. It is left alone while any such job goes on.
    """
    found = set()
    for pid in children() - {other.pid for other in others}:
        stat = table.processes.get(pid)
        if stat is None or pid == record.pid:
            continue
        owner = owner_of(pid, stat, [record] + others, members)
        if owner is record or (owner is None and not any(other.first_start <= stat.start for other in others)):
            found.add(pid)
    return found


def owner_of(pid, stat, records, members):
    """Return the job to which an orphan certainly belongs, or None if that cannot be known."""
    keys = job_keys_of(pid)
    outputs = set()
    for fd in (0, 1, 2):
        try:
            outputs.add(os.readlink("/proc/%d/fd/%d" % (pid, fd)))
        except OSError:
            pass
    for record in records:
        was_member = members.get(record.key, {}).get(pid) == stat.start or stat.session == record.pid
        if was_member or record.key.encode() in keys or record.base + OUTPUT in outputs:
            return record
    return None


class Leftovers:
    """The processes that have received TERM after their job has ended, and receive KILL if they do not end."""

    def __init__(self, meter):
        self.meter = meter
        self.pending = []  # (when to kill, the pid of the job's shell, attempt key, {pid: start})

    def sweep(self, record, others):
        """End what a job leaves behind. This must come before its shell is reaped, while its pid is its own."""
        if not PROC:
            signal_group(record.pid, signal.SIGTERM)
            self.pending.append((time.monotonic() + GRACE, record.pid, record.key, {}))
        elif record.reason is not None or children() - {other.pid for other in others} - {record.pid}:
            table = ProcessTable()
            ours = [other for other in others if os.getpid() in (other.info.get("keepers") or [])]
            orphans = orphans_of(record, ours, self.meter.members, table)
            family = table.family(record.pid, record.key, orphans)
            signal_all(family, signal.SIGKILL if record.reason else signal.SIGTERM)
            if family and record.reason is None:
                starts = {pid: table.processes[pid].start for pid in family}
                self.pending.append((time.monotonic() + GRACE, record.pid, record.key, starts))

    def kill_due(self, now):
        """Kill the processes whose time is over."""
        for due in [due for due in self.pending if now >= due[0]]:
            self.pending.remove(due)
            self.kill(*due[1:])

    @staticmethod
    def kill(leader, key, starts):
        table = ProcessTable()
        processes = table.processes
        same = [pid for pid, start in starts.items() if pid in processes and processes[pid].start == start]
        signal_all(table.family(None if leader in processes else leader, key, same), signal.SIGKILL)
        if not PROC:
            signal_group(leader, signal.SIGKILL)
