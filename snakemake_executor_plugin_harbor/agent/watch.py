"""Watches running jobs between their start and their end: limits, fences, progress and load."""

import os
import signal
import time

from harbor_attempts import is_unattended
from harbor_capacity import memory
from harbor_fence import READ_EVERY
from harbor_job_signals import end_job, signal_job
from harbor_process_control import lower_group_priority
from harbor_process_table import ProcessTable, resident_mb
from harbor_queries import LoggedInUsers
from harbor_spool import free_bytes
from harbor_system import oom_count, own_peak_mb

# Seconds.
LOOK_EVERY = 0.25
MEASURE_EVERY = 2.0
PROGRESS_EVERY = 0.5
ALIVE_EVERY = 2.0
GRACE = 5.0
FENCE_GRACE = 1.0
FIRST_SPAN = 0.3


class Watch:
    """Does what is due. The agent calls `tick` in each round of its loop, and asks `next_due` how long it may wait."""

    def __init__(self, wire, attempts, runner, workdir, fence, meter, welcome):
        self.wire = wire
        self.attempts = attempts
        self.runner = runner
        self.workdir = workdir
        self.fence = fence
        self.meter = meter
        self.users = LoggedInUsers(attempts.scratch)
        self.load_every = max(0.1, float(welcome.get("load_every", 1.0)))
        self.next_look = 0.0
        self.next_fence = 0.0
        self.next_measure = 0.0
        self.next_load = 0.0
        self.alive_at = 0.0

    def begin(self):
        """Schedule the first sample. It would say little if it covered a shorter time than FIRST_SPAN."""
        self.next_load = max(time.monotonic(), self.meter.last_at + FIRST_SPAN)

    def next_due(self):
        """Return when something is due."""
        due = [self.next_load] if not self.wire.closed else [time.monotonic() + 1.0]
        if self.runner.leftovers.pending or not self.attempts.all_have_ended():
            due.append(self.next_look)
        return min(due)

    def tick(self, now):
        """Do what is due."""
        for record in self.runner.copies.copy_for_a_moment():
            self.runner.finish(record)
        running = self.attempts.running()
        pending = [record for record in self.attempts.records.values() if record.ended is not None]
        if (running or pending or self.runner.leftovers.pending) and now >= self.next_look:
            self.next_look = now + LOOK_EVERY
            for record in pending:
                self.runner.finish(record)
            self.enforce_limits(running, now)
            self.runner.leftovers.kill_due(now)
            self.report_progress(running, now)
            self.report_alive(running, now)
        if self.attempts.records and now >= self.next_fence:
            self.next_fence = now + READ_EVERY
            self.obey_fence()
        if self.attempts.forgotten and now >= self.attempts.delete_at:
            self.attempts.delete_forgotten()
        if not self.wire.closed and now >= self.next_load:
            self.next_load = now + self.load_every
            self.wire.send(self.load_message([record for record in running if record.is_running], now))

    def enforce_limits(self, running, now):
        """End jobs that run too long, kill those that do not end, and conclude those of earlier agents."""
        for record in running:
            if not record.priority_lowered:
                record.priority_lowered = lower_group_priority(record.pid, self.runner.nice)
            if record.deadline is not None and now >= record.deadline:
                end_job(record, "timeout", GRACE)
            if record.kill_at is not None and now >= record.kill_at:
                record.kill_at = now + 1.0
                signal_job(record, signal.SIGKILL, ProcessTable())
            if is_unattended(record):
                self.runner.conclude(record, record.info.get("end") or time.time())

    def obey_fence(self):
        """End attempts that the controller has given up, and leave exit notices for those that have ended.

        This is also done while there is a connection, because one that is cut silently still seems to be there.
        """
        for record in self.fence.given_up(list(self.attempts.records.values())):
            if record.is_running:
                end_job(record, "fenced", FENCE_GRACE)
            elif record.exit is not None:
                self.runner.leave_exit_notice(record)

    def report_progress(self, running, now):
        """Read the outputs of jobs and report their progress."""
        own_peak = own_peak_mb()
        for record in running:
            record.read_output()
            if record.steps.peak_mb < own_peak:
                record.steps.note_memory(resident_mb(record.pid))
            progress = record.output.progress
            if progress != record.reported_progress and now - record.progress_reported_at >= PROGRESS_EVERY:
                record.reported_progress, record.progress_reported_at = progress, now
                message = {"t": "progress", "job": record.job, "attempt": record.attempt}
                self.wire.send(dict(message, done=progress[0], total=progress[1]))

    def report_alive(self, running, now):
        """Report which jobs have written output since the last such message."""
        if now - self.alive_at < ALIVE_EVERY:
            return
        self.alive_at = now
        grown = [[record.job, record.attempt] for record in running if record.output.grew]
        for record in running:
            record.output.grew = False
        if grown:
            self.wire.send({"t": "alive", "jobs": grown})

    def load_message(self, running, now):
        """Take a sample of the load. Its message is the heartbeat, too."""
        self.runner.ooms = oom_count()
        sample = self.meter.sample({record.key: record.pid for record in running})
        for record in running:
            record.steps.note_memory(sample.resident_mb[record.key])
        if now >= self.next_measure or not self.workdir.shared:
            self.next_measure = now + MEASURE_EVERY
            self.workdir.measure()
        return {
            "t": "load", "at": time.time(), "busy": round(sample.busy, 3), "ours": sample.ours,
            "ended": round(sample.ended, 3), "load1": os.getloadavg()[0], "mem_available_mb": memory()[1],
            "disk_free_mb": free_bytes(self.attempts.scratch) >> 20, "users": self.users.names(),
            "shared": self.workdir.shared, "workdir_free_mb": self.workdir.free_mb,
        }  # fmt: skip
