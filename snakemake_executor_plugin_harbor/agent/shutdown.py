"""Recognises orderly shutdowns of the node, so that jobs which they end are not taken for failed.

In a shutdown the node sends TERM to every process, and KILL some seconds later. The user's own `kill` or `pkill` looks
the same to the job, but it does not reach every process. A guardian survives TERM and can see that.
"""

import os
import signal
import time

from harbor_process_table import all_processes, job_keys_of, name_of
from harbor_programs import output_of
from harbor_system import BOOT_ID, TICKS, read_file, uptime

TERM_CODE = 128 + signal.SIGTERM
# Seconds: a job's end may be seen so long before or after our own TERM, because `kill` and `killall` take some time.
EARLY = 1.0
# Seconds after TERM: at SOON we look for processes that it did not reach, and at LATE we believe that there are some.
SOON, LATE = 0.5, 5.0
NOLOGIN_AGE = 1800.0


class Shutdown:
    """`termed_at` is when this process, a guardian, has received TERM. An agent dies of TERM.

    `confirmed` says whether that TERM was one for all processes. It is None while that is not known.
    """

    def __init__(self):
        self.termed_at = None
        self.confirmed = None

    def survive_term(self):
        """From now on TERM is noted and does not end this process."""
        signal.signal(signal.SIGTERM, self.on_term)

    def on_term(self, *_):
        if self.termed_at is None or self.confirmed is False:
            self.termed_at, self.confirmed = time.time(), None

    def has_ended_job(self, record, code, end):
        """Return whether a shutdown has ended a job that failed: True, False, or None while it cannot be known.

        An open question is on record. If the node then boots again, there was a shutdown.
        """
        info = record.info
        if code == 0 or info.get("believed"):
            return False
        if info.get("boot_id") != BOOT_ID:
            return bool(info.get("termed")) or code == TERM_CODE
        now = time.time()
        if self.termed_at is not None and end >= self.termed_at - EARLY:
            if not info.get("termed"):
                record.append(termed=True)
            verdict = self.confirm(now)
        elif info.get("termed"):
            verdict = None if abs(now - end) < LATE + EARLY else False  # Another guardian has received TERM.
        elif code == TERM_CODE:
            verdict = None if abs(now - end) < EARLY else False
        else:
            return False
        if verdict is False:
            record.append(believed=True)
        return verdict

    def confirm(self, now):
        """Return whether the TERM that we have received was one for all processes."""
        waited = abs(now - self.termed_at)
        if self.confirmed is None and waited >= SOON:
            if is_announced() or not spared_processes(self.termed_at):
                self.confirmed = True
            elif waited >= LATE:
                self.confirmed = False
        return self.confirmed


def is_announced():
    """Return whether the system itself says that it is shutting down."""
    for path in ("/run/nologin", "/etc/nologin", "/run/systemd/shutdown/scheduled"):
        try:
            if abs(time.time() - os.stat(path).st_mtime) < NOLOGIN_AGE:
                return True
        except OSError:
            pass
    if read_file("/proc/1/comm").startswith("systemd-shutdow"):
        return True
    return (
        os.path.isdir("/run/systemd/system") and output_of(["systemctl", "is-system-running"], 2).strip() == "stopping"
    )


def spared_processes(termed_at):
    """Return the processes that a TERM did not reach: older than it, still there, and such that it would end them.

    Without /proc that cannot be known, and then one is assumed.
    """
    up = uptime()
    if up is None:
        return [1]
    oldest = (up - (time.time() - termed_at) - 0.05) * TICKS
    kernel = 2 if name_of(2) == "kthreadd" else None
    found = []
    for pid, stat in all_processes().items():
        if pid in (1, kernel, os.getpid()) or stat.parent == kernel or stat.start > oldest:
            continue
        facts = dict(line.split(":\t", 1) for line in read_file("/proc/%d/status" % pid).splitlines() if ":\t" in line)
        ours = facts.get("Name", "").startswith("harbor-") or job_keys_of(pid)
        ignored = int(facts.get("SigIgn", "0"), 16) | int(facts.get("SigBlk", "0"), 16)
        if ours or ignored >> (signal.SIGTERM - 1) & 1 or facts.get("State", "Z")[0] in "ZXTt":
            continue
        found.append(pid)
    return found
