"""One attempt of a job, as its record on disk and this agent know it."""

import os
import time

from harbor_output import Output
from harbor_process_table import parent_and_birth, stat_of
from harbor_spool import OUTPUT, RECORD, append_line, read_record
from harbor_steps import Steps
from harbor_system import BOOT_ID, TICKS, uptime

# Seconds: the longest time between the end of one script of an attempt and the start of the next one.
NEXT_STEP = 5.0


class Record:
    """An attempt. `info` are the facts on disk.

    `spec` is the start message in this agent if it has started the attempt and can start its next script, else None.
    `ended` is the exit message while it cannot be sent yet, and `exit` is the final one. `kept` says whether the log is
    where the controller wants it: None while that is not decided.
    """

    def __init__(self, base, job, attempt, info):
        self.base = base
        self.job = job
        self.attempt = attempt
        self.info = info
        self.spec = None
        self.pid = info.get("pid")
        self.reason = info.get("reason")
        self.ended = None
        self.exit = info.get("exit")
        self.kept = info.get("kept") or None
        self.steps = Steps(info.get("steps") or [], info.get("start", 0.0))
        self.output = Output(base + OUTPUT, info.get("progress"))
        self.reported_progress = None
        self.progress_reported_at = 0.0
        self.kill_at = None
        self.deadline = None
        self.ooms_at_start = 0
        self.priority_lowered = True
        self.exit_notice_left = False
        # When its first process began, in ticks since boot. 0 is earlier than every process that may be left of it.
        self.first_start = int(self.birth()) if info.get("scripts", 1) == 1 and self.birth().isdigit() else 0

    @property
    def key(self):
        """The text that identifies the attempt in load messages and in the environment of its processes."""
        return "%s#%d" % (self.job, self.attempt)

    @property
    def is_running(self):
        return self.exit is None and self.ended is None

    # --- on disk ---

    def append(self, **facts):
        """Append facts to the record on disk. A full disk does not keep the controller from receiving them."""
        self.info.update(facts)
        try:
            append_line(self.base + RECORD, facts)
        except OSError:
            pass

    def reread(self):
        """Read the record again, because another agent or guardian may have added to it."""
        self.info.update(read_record(self.base + RECORD))
        self.pid = self.info.get("pid")

    def changed_at(self):
        """Return when the record was last written."""
        try:
            return os.stat(self.base + RECORD).st_mtime
        except OSError:
            return time.time()

    def lacks_pid(self):
        """Return whether the agent was killed between the start of the process and the note of its pid."""
        return self.pid is None and self.exit is None and self.reason != "lost" and self.info.get("boot_id") == BOOT_ID

    def last_script_ended(self):
        """Return whether the last script has ended, or one that failed."""
        code, steps = self.info.get("code"), self.info.get("steps") or []
        return code is not None and (code != 0 or len(steps) + 1 >= self.info.get("scripts", 1))

    # --- its process ---

    def birth(self):
        return self.info.get("born") or ""

    def find_process(self, table):
        """Find the process by the job's key, if the record does not name one.

        A process gets its session and its environment shortly after the table was read. So both are read again here.
        """
        stats = [(pid, stat_of(pid)) for pid in table.with_key(self.key)]
        leaders = [pid for pid, found in stats if found is not None and found.session == pid]
        self.reread()
        if self.pid is None and leaders:
            self.pid = leaders[0]
            self.note_process()

    def note_process(self):
        """Write pid and birth of the process to the record."""
        found = parent_and_birth(self.pid) if self.pid is not None else None
        if found is not None:
            self.append(pid=self.pid, born=found[1])

    def begin_step(self, pid):
        """Note that a script runs as process `pid`."""
        self.pid = pid
        self.note_process()
        if not self.steps.ended and self.birth().isdigit():
            self.first_start = int(self.birth())

    def end_step(self, code, usage, own_peak_mb):
        """Note that a script has ended."""
        self.steps.end(code, usage, own_peak_mb)
        if self.info.get("scripts", 1) > 1:
            self.append(steps=self.steps.ended)

    def process(self):
        """Return (parent, birth) of its process, which may be a zombie, or None if it is gone.

        A process with this pid but another birth does not belong to the job.
        """
        if self.info.get("boot_id") != BOOT_ID or not isinstance(self.pid, int):
            return None
        found = parent_and_birth(self.pid)
        return found if found and found[1] == self.info.get("born") else None

    def owns_pid(self):
        """Return whether the pid still is that of the job: not reaped yet, or the process of the record."""
        return (self.spec is not None and self.is_running) or self.process() is not None

    def is_attended(self):
        """Return whether its process is a child of the agent that started it, or of that agent's guardian.

        These see how it ends.
        """
        found = self.process()
        return found is not None and found[0] in (self.info.get("keepers") or [])

    def has_ended(self):
        """Read again an attempt whose process is gone. Returns False if the agent that started it goes on with it."""
        self.reread()
        scripts, steps = self.info.get("scripts", 1), self.info.get("steps") or []
        if self.is_attended():
            return False
        if scripts == 1 or self.info.get("code") or self.info.get("reason") or len(steps) == scripts:
            return True
        return time.time() - self.changed_at() > NEXT_STEP or not os.path.exists(self.base + RECORD)

    def age(self):
        """Return the seconds since its process started, by a clock that nobody sets if there is one."""
        found, up = stat_of(self.pid), uptime()
        return up - found.start / float(TICKS) if found and up else max(0.0, time.time() - self.steps.started)

    # --- its output ---

    def read_output(self):
        """Read what the job has written since the last call."""
        self.output.read()
        if self.output.expression_failed and self.info.get("progress"):
            self.append(progress=None)
