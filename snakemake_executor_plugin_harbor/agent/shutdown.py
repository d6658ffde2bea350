"""Orderly shutdowns: the node sends TERM to every process, and KILL some seconds later. What a job's TERM ends then is
the node's fault. A user's own `kill` or `pkill` looks alike to the job, but does not reach everybody.
"""

import os
import signal
import time

from harbor_helpers import output_of
from harbor_processes import BOOT_ID, TICKS, all_processes, job_keys_of, name_of, read_file

TERM_CODE = 128 + signal.SIGTERM
# Seconds: a job's end may be seen so long before or after our own TERM. `kill` and `killall` take some time.
EARLY = 1.0
# We look for those that TERM did not reach after this time, and believe that there are some after that one.
SOON, LATE = 0.5, 5.0
NOLOGIN_AGE = 1800.0


class Shutdown:
    """`termed_at`: when this process (a guardian) got TERM; the agent itself dies of it."""

    def __init__(self):
        self.termed_at = None
        self.real = None

    def heed(self):
        """From now on TERM is noted, and does not end us."""
        signal.signal(signal.SIGTERM, self.note)

    def note(self, *_):
        if self.termed_at is None or self.real is False:
            self.termed_at, self.real = time.time(), None

    def ended(self, record, code, end):
        """Whether an orderly shutdown has ended a job that failed: True, False, or None while nobody can know.

        What is not decided yet is on record: then a node that has booted again has been shut down.
        """
        info = record.info
        if code == 0 or info.get("believed"):
            return False
        if info.get("boot_id") != BOOT_ID:
            return bool(info.get("termed")) or code == TERM_CODE
        now = time.time()
        if self.termed_at is not None and end >= self.termed_at - EARLY:
            if not info.get("termed"):
                record.add(termed=True)
            verdict = self.decide(now)
        elif info.get("termed"):
            verdict = None if abs(now - end) < LATE + EARLY else False  # it is another process that got TERM
        elif code == TERM_CODE:
            verdict = None if abs(now - end) < EARLY else False
        else:
            return False
        if verdict is False:
            record.add(believed=True)
        return verdict

    def decide(self, now):
        """Whether the TERM that we got was one for all."""
        waited = abs(now - self.termed_at)
        if self.real is None and waited >= SOON:
            if is_announced() or not spared(self.termed_at):
                self.real = True
            elif waited >= LATE:
                self.real = False
        return self.real


def is_announced():
    """Whether the system itself says that it goes down."""
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


def spared(termed_at):
    """Processes that are older than a TERM, would have ended of it, and are there. Without /proc nobody can say."""
    up = read_file("/proc/uptime").split()
    if not up:
        return [1]
    oldest = (float(up[0]) - (time.time() - termed_at) - 0.05) * TICKS
    kernel = 2 if name_of(2) == "kthreadd" else None
    found = []
    for pid, stat_ in all_processes().items():
        if pid in (1, kernel, os.getpid()) or stat_[0] == kernel or stat_[4] > oldest:
            continue
        facts = dict(line.split(":\t", 1) for line in read_file("/proc/%d/status" % pid).splitlines() if ":\t" in line)
        ours = facts.get("Name", "").startswith("harbor-") or job_keys_of(pid)
        deaf = int(facts.get("SigIgn", "0"), 16) | int(facts.get("SigBlk", "0"), 16)
        if ours or deaf >> (signal.SIGTERM - 1) & 1 or facts.get("State", "Z")[0] in "ZXTt":
            continue
        found.append(pid)
    return found
