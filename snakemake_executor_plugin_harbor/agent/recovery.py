"""Takes over the attempts that earlier agents have left in the spool."""

import os
import signal
import time

from harbor_attempts import is_unattended
from harbor_process_control import signal_all
from harbor_process_table import ProcessTable, is_starting, name_of

KEEP_DAYS = 14
RECENT = 10.0  # seconds: the process of an older record is not starting any more
STARTING = 1.0  # between fork and exec: below a millisecond, unless the machine is overloaded
STARTING_MAX = 5.0


def recover(attempts, runner):
    """Read the spool, and conclude the attempts whose end no agent has seen."""
    limit = time.time() - KEEP_DAYS * 86400
    records = list(attempts.stored())
    without_pid = [record for record in records if not record.info.get("forgotten") and record.lacks_pid()]
    find_processes(without_pid, {record.pid for record in records})
    table = None
    for record in records:
        forgotten = record.info.get("forgotten")
        if record.exit is None and not forgotten and is_unattended(record):
            # Its end was noted by another agent, or by nobody.
            table = table or ProcessTable()
            runner.conclude(record, record.info.get("end") or record.changed_at(), table)
        if record.is_running and record.info.get("runtime") and not forgotten:
            record.deadline = time.monotonic() + float(record.info["runtime"]) - record.age()
        if forgotten or (record.exit is not None and record.exit.get("end", 0) < limit):
            attempts.delete(record)
            continue
        if record.exit is None or attempts.is_ours(record.info):
            attempts.records[(record.job, record.attempt)] = record


def find_processes(records, recorded_pids):
    """Find the processes of attempts whose agent was killed while it started them.

    Such a process may still be starting, and until its exec is complete nothing shows which job it belongs to. If that
    takes too long, the process is killed, so that it does not begin after its attempt was called lost.
    """
    began = time.monotonic()
    while records:
        table = ProcessTable()
        recent = [record for record in records if abs(time.time() - record.steps.started) < RECENT]
        keepers = {pid for record in recent for pid in record.info.get("keepers") or []}
        parents = {pid: stat.parent for pid, stat in table.processes.items() if pid != os.getpid()}
        starting = {pid for pid, parent in parents.items() if may_be_starting(pid, parent, keepers)}
        for record in records:
            record.find_process(table)
        records = [record for record in recent if record.pid is None]
        waited = time.monotonic() - began
        if not (recent and starting) or waited > STARTING_MAX:
            return
        if waited > STARTING:
            late = {pid for pid in starting if parents[pid] in keepers and pid not in keepers}
            signal_all(late - recorded_pids, signal.SIGKILL)
        time.sleep(0.01)


def may_be_starting(pid, parent, keepers):
    """Return whether a process may be the start of a job.

    It may be a child of a keeper, which is the agent that has made the record, or its guardian. It may also be such an
    agent that still starts jobs, or an orphan of one.
    """
    if parent in keepers:
        return is_starting(pid, parent)
    return name_of(pid) == "harbor-agent" and (pid in keepers or name_of(parent) != "harbor-guardian")
