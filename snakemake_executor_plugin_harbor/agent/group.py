"""Runs the jobs of one group on a node: level after level, and the jobs of a level side by side within the limits.

The controller sends group_jobs.py and this program as the script of an attempt, with the jobs in the last line. It is
no part of the agent. Jobs that are connected by pipes or services form a unit, and all of them run at the same time. If
a job fails, no further one starts, and the exit code is that of the job.
"""

import json
import os
import signal
import sys
import time

from harbor_group_jobs import GPUS, Unit, say

BROKEN_PIPE = (-signal.SIGPIPE, 128 + signal.SIGPIPE)  # how a job ends whose reader has ended before
# Seconds.
GRACE = 5.0  # between TERM and KILL
BLAME = 1.0  # A reader that has failed may be reaped this much later than its writer.
LOOK_EVERY = 0.05


def main(text):
    """Run the jobs of `text`, which is JSON: the limits of the group, its levels, and how long a file may be late."""
    group = Group(json.loads(text))
    signal.signal(signal.SIGTERM, group.end)
    group.run()
    if group.done and (group.ending or group.failed is not None):
        # The controller reads these numbers, so that no later try runs these jobs again.
        numbers = " ".join(str(number) for number in sorted(group.done))
        say("%d of %d jobs of the group have succeeded: %s" % (len(group.done), group.size, numbers))
    if group.ending:
        sys.exit(128 + signal.SIGTERM)
    if group.failed is not None:
        job, code, why = group.failed
        log = "; its log: %s" % job.facts["log"] if job.facts["log"] else ""
        say("job %s %s, so the group ends%s" % (job.name, why, log))
        sys.exit(code if 0 < code < 256 else 128 - code if code < 0 else 1)


class Group:
    """`active` are the units that have started and are not over. `done` are the numbers of the jobs in units that have
    succeeded. `failed` is (job, exit code, why). `ending` is set by a TERM.
    """

    def __init__(self, group):
        self.levels = group["levels"]
        self.limits = group["limits"]
        self.latency = group["latency"]
        jobs = [job for level in self.levels for unit in level for job in unit]
        for number, job in enumerate(jobs):
            job["number"] = number
        self.size = len(jobs)
        self.gpus = [number for number in os.environ.get(GPUS, "").split(",") if number]  # that no job has
        self.active = []
        self.done = []
        self.failed = None
        self.ending = False

    def end(self, *_):
        """Start nothing more. The agent sends TERM to all jobs. Without /proc and `ps`, it finds only our own group."""
        self.ending = True
        for unit in list(self.active):
            for job in unit.jobs:
                job.signal(signal.SIGTERM)

    def run(self):
        for level in self.levels:
            self.run_level([Unit(jobs) for jobs in level])

    def run_level(self, waiting):
        while True:
            while self.failed is None and not self.ending:
                unit = next((unit for unit in waiting if self.fits(unit)), None)
                if unit is None:
                    break
                waiting.remove(unit)
                self.active.append(unit)
                self.begin(unit)
            for unit in self.active:
                self.advance(unit)
            for unit in [unit for unit in self.active if unit.is_over(self.ending)]:
                self.active.remove(unit)
                self.gpus += [number for job in unit.jobs for number in job.gpus]
                unit.remove_pipes()
                if not unit.failed and not self.ending:
                    self.conclude(unit)
            if self.active:
                self.wait()
            elif self.failed is not None or self.ending or not waiting:
                return

    def conclude(self, unit):
        """Note that all jobs of a unit have succeeded."""
        for job in unit.jobs:
            try:
                job.write_benchmark()
            except OSError as error:
                self.fail(job, 1, "has run, but its benchmark cannot be written (%s)" % error)
        if not unit.failed:
            self.done += [job.facts["number"] for job in unit.jobs]

    def fits(self, unit):
        """Return whether a unit may start beside others. One that is alone always may."""
        return not self.active or all(
            sum(other.asks.get(name, 0) for other in self.active) + amount <= self.limits[name]
            for name, amount in unit.asks.items()
            if name in self.limits
        )

    def begin(self, unit):
        for job in unit.jobs:
            count = int(job.facts["asks"].get("gpu", 0))
            job.gpus, self.gpus = self.gpus[:count], self.gpus[count:]
        try:
            unit.make_pipes()
        except OSError as error:
            self.fail(unit.jobs[0], 1, "cannot be started, because a pipe cannot be made (%s)" % error)

    def advance(self, unit):
        """Start the jobs of a unit that can start, and end those that are of no use any more."""
        now = time.monotonic()
        for job in unit.jobs:
            if job.waits and not unit.failed and not self.ending and self.may_start(job, now):
                self.start(job)
        if unit.end_at is None and not unit.failed and all(job.is_service or job.code is not None for job in unit.jobs):
            for job in [job for job in unit.jobs if job.runs]:
                say("service job %s is ended, because all jobs that use it have ended" % job.name)
                unit.end_at = now
        if unit.end_at is not None and now >= unit.end_at:
            for job in unit.jobs:
                job.signal(signal.SIGKILL if unit.terminated else signal.SIGTERM)
            unit.terminated, unit.end_at = True, now + GRACE

    def may_start(self, job, now):
        """Return whether what the job needs from others of its unit is there: files, and the files of services."""
        if any(job.unit.jobs[number].code is None for number in job.facts["after"]):
            return False
        missing = job.missing(job.facts["uses"])
        if not missing:
            job.unit.late_at.pop(job, None)
        elif now >= job.unit.late_at.setdefault(job, now + self.latency):
            why = "cannot start, because its service has not made %s within %g s (--latency-wait)"
            self.fail(job, 1, why % (", ".join(missing[:3]), self.latency))
        return not missing

    def start(self, job):
        try:
            if job.process is None:
                say("job %s starts" % job.name)
            job.start()
            if self.ending and not job.signal(signal.SIGTERM):
                job.process.terminate()  # The TERM came while the job was started.
        except OSError as error:
            job.process, job.code = None, 126
            self.fail(job, 126, "could not be started (%s)" % error)

    def wait(self):
        """Wait until a job has ended, but not long if something else may be due."""
        look = any(unit.needs_look() for unit in self.active)
        running = {job.process.pid: job for unit in self.active for job in unit.jobs if job.runs}
        pid, status, usage = os.wait4(-1, os.WNOHANG if look else 0) if running else (0, 0, None)
        if pid in running:
            running[pid].measure(usage)
            self.ended(running[pid], os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status))
        elif not pid:
            time.sleep(LOOK_EVERY)

    def ended(self, job, code):
        """Note that the present script of a job has ended."""
        unit = job.unit
        job.process.returncode = code
        job.remove_script()
        if code == 0 and job.scripts and not self.ending and not unit.failed:
            self.start(job)
            return
        job.code = code
        why = "failed with exit code %d" % code
        if job.is_service and unit.terminated:
            code = 0
        if code and job.is_service and not job.missing(job.facts["serves"]):
            # Snakemake regards it as no failure if the jobs that use the service succeed.
            say("service job %s %s while jobs use it" % (job.name, why))
            unit.died, code = (job, code, why), 0
        if code == 0 and not unit.failed:
            why = job.complete()
            code = 1 if why else 0
        if code:
            self.fail(*(unit.died or (job, code, why)))

    def fail(self, job, code, why):
        """Note that a job has failed. The others of its unit are ended."""
        unit = job.unit
        is_cause = unit.failed and not unit.terminated and self.failed[0].unit is unit
        if self.failed is None or (is_cause and self.failed[1] in BROKEN_PIPE and code not in BROKEN_PIPE):
            self.failed = (job, code, why)
        if unit.connected:
            begin = time.monotonic() + (BLAME if code in BROKEN_PIPE else 0)
            unit.end_at = begin if unit.end_at is None else unit.end_at if unit.terminated else min(unit.end_at, begin)
        unit.failed = True
