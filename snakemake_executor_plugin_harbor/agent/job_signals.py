"""Sends signals to all processes of a job."""

import signal
import time

from harbor_process_control import signal_all, signal_group
from harbor_process_table import ProcessTable


def processes_of(record, table):
    """Return the processes of a job.

    If the pid belongs to another process by now, the job's processes are found by its key only.
    """
    owned = record.owns_pid()
    found = table.family(record.pid if owned else None, record.key if record.reason or not owned else None)
    return found | {record.pid} if owned else found


def signal_job(record, number, table):
    """Send a signal to a job: to its whole process group at once, and to each process that has left the group."""
    members = processes_of(record, table)
    if record.owns_pid():
        members = {pid for pid in members if pid in table.processes and table.processes[pid].group != record.pid}
        signal_group(record.pid, number)
    signal_all(members, number)


def end_job(record, reason, grace):
    """Send TERM to all processes of a job. The agent kills what is left of it after `grace` seconds."""
    if record.reason is None:
        record.reason = reason
        record.append(reason=reason)
    if record.kill_at is None:
        record.kill_at = time.monotonic() + grace
        table = ProcessTable()
        signal_job(record, signal.SIGTERM, table)
        signal_job(record, signal.SIGCONT, table)
