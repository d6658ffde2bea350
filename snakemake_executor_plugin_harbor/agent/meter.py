"""Measures how busy the node is, and which part of its load our jobs are."""

import os
import time

from harbor_capacity import allowed_cpus, cpu_quota, number_in
from harbor_process_table import ProcessTable
from harbor_system import TICKS, read_file


class Sample:
    """The load since the sample before, in cores.

    `busy` counts everybody's processes. `ours` has the cores per attempt key, and `ended` are those of jobs that have
    ended since. `resident_mb` has the memory of the largest process per attempt key.
    """

    def __init__(self, busy, ours, ended, resident_mb):
        self.busy = busy
        self.ours = ours
        self.ended = ended
        self.resident_mb = resident_mb


class Meter:
    """Takes samples of the load. `cores` are those that we may use."""

    def __init__(self):
        self.cpus = allowed_cpus()
        quota, self.quota_directory = cpu_quota()
        if quota is None or quota >= len(self.cpus):
            self.quota_directory = None
        self.cores = len(self.cpus) if self.quota_directory is None else max(1, int(quota))
        self.counted = {}
        self.members = {}  # {attempt key: {pid: start}} at the last sample
        self.last_busy = self.busy_seconds()
        self.last_own = self.own_seconds()
        self.last_at = time.monotonic()

    def busy_seconds(self):
        """Return the CPU seconds that were used on our CPUs, or in our cgroup if it has a quota. None if unknown."""
        if self.quota_directory is not None:
            for line in read_file(self.quota_directory + "/cpu.stat").splitlines():
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e6
            usage = number_in(self.quota_directory + "/cpuacct.usage")
            if usage is not None:
                return usage / 1e9
        wanted = {"cpu%d" % n for n in self.cpus}
        total = 0.0
        seen = False
        for line in read_file("/proc/stat").splitlines():
            words = line.split()
            if words and words[0] in wanted:
                seen = True
                ticks = [int(n) for n in words[1:9]]
                total += (sum(ticks) - ticks[3] - (ticks[4] if len(ticks) > 4 else 0)) / float(TICKS)
        return total if seen else None

    @staticmethod
    def own_seconds():
        """Return the CPU seconds of this process and of all that it has reaped: its jobs, and what they have reaped."""
        return sum(os.times()[:4])

    def continue_in_child(self, spent):
        """Go on in a fork of this process. `spent` are the CPU seconds of the parent at the fork, which are ours."""
        self.last_own = self.own_seconds() - (spent - self.last_own)

    def sample(self, running):
        """Return the Sample since the last call. `running` is {attempt key: pid}."""
        now = time.monotonic()
        span = max(1e-3, now - self.last_at)
        busy_now, own_now = self.busy_seconds(), self.own_seconds()
        if busy_now is None or self.last_busy is None:
            busy = min(os.getloadavg()[0], self.cores)
        else:
            busy = max(0.0, busy_now - self.last_busy) / span
        ours, counted, resident, self.members = {}, {}, {}, {}
        if running:
            table = ProcessTable()
            processes = table.processes
            for key, pid in running.items():
                members = [m for m in table.family(pid) | {pid} if m in processes]
                self.members[key] = {m: processes[m].start for m in members}
                resident[key] = max([processes[m].resident_mb for m in members] or [0.0])
                counted[key] = sum(processes[m].cpu_s for m in members)
                ours[key] = max(0.0, counted[key] - self.counted.get(key, 0.0)) / span
        before = sum(seconds for key, seconds in self.counted.items() if key not in counted)
        ended = max(0.0, own_now - self.last_own - before) / span
        self.last_busy, self.last_own, self.last_at, self.counted = busy_now, own_now, now, counted
        shares = {key: round(share, 3) for key, share in ours.items() if share > 0}
        return Sample(min(busy, len(self.cpus)), shares, ended, resident)
