"""The jobs of a group, and the units in which they run. This is a part of the program in group.py."""

import json
import os
import resource
import subprocess
import sys
import time

LONG = 100000  # bytes: the kernel takes at most 128 KiB in one argument
GPUS = "CUDA_VISIBLE_DEVICES"
UNITS_PER_MB = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss


class Job:
    """A job of the group. `code` is None until it has ended, and `process` is that of its present script."""

    def __init__(self, facts, unit):
        self.facts = facts
        self.unit = unit
        self.name = facts["name"]
        self.is_service = bool(facts["serves"])
        self.scripts = list(facts["scripts"])
        self.process = None
        self.began = 0.0
        self.measured = []
        self.code = None
        self.gpus = []
        self.group = None  # the process group that it leads, if it is connected to others

    @property
    def runs(self):
        return self.process is not None and self.code is None

    @property
    def waits(self):
        return self.process is None and self.code is None

    def path(self, name):
        """Return where a file of the job is, in bytes, because the locale of the node may not know its letters."""
        return os.path.join(raw(self.facts["cwd"] or "."), raw(name))

    def missing(self, names):
        return [name for name in names if not os.path.lexists(self.path(name))]

    def start(self):
        """Start the job's next script, with its own environment and directory."""
        env = dict(os.environb)
        env[raw(GPUS)] = raw(",".join(self.gpus))
        for name, value in self.facts["env"].items():
            if value is None:
                env.pop(raw(name), None)
            else:
                env[raw(name)] = raw(value)
        script = raw(self.scripts.pop(0))
        argv = [raw(self.facts["shell"]), b"-c", script]
        if len(script) > LONG:
            import tempfile  # It takes its time, and few jobs need it.

            with tempfile.NamedTemporaryFile("wb", prefix="harbor-", suffix=".sh", delete=False) as f:
                f.write(script + b"\n")
            argv[1:] = [raw(f.name)]
        lead = os.setpgrp if self.unit.connected else None
        # This program has one thread, so preexec_fn is safe.
        self.began = time.time()
        self.process = subprocess.Popen(argv, env=env, cwd=raw(self.facts["cwd"] or "."), preexec_fn=lead)  # noqa: PLW1509
        self.group = self.process.pid if lead else None

    def remove_script(self):
        """Remove the file that was written for a long script."""
        if self.process.args[1] != b"-c":
            remove(self.process.args[1])

    def signal(self, number):
        """Send a signal to the processes of a job that is connected to others. Returns whether there are any."""
        if self.group is None:
            return False
        try:
            os.killpg(self.group, number)
        except OSError:
            return False
        return True

    def measure(self, usage):
        """Note what the present script has used.

        The kernel counts the memory of this program, of which the process was a fork, so a peak below ours is unknown.
        """
        peak = usage.ru_maxrss
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.measured.append({
            "start": self.began, "end": time.time(), "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss_mb": peak / UNITS_PER_MB if peak > own else None,
            "in_mb": usage.ru_inblock / 2048.0, "out_mb": usage.ru_oublock / 2048.0,
        })  # fmt: skip

    def write_benchmark(self):
        """Write what was measured to the benchmark file. The controller makes Snakemake's table of it."""
        if self.facts["benchmark"]:
            with open(self.path(self.facts["benchmark"]), "w") as f:
                json.dump({"harbor": self.measured}, f)

    def complete(self):
        """Make the files that Snakemake would touch after the job, and look for those that the job makes itself.

        Returns why the job has failed, or None.
        """
        try:
            for name in self.facts["touch"]:
                path = self.path(name)
                if not os.path.isdir(path):
                    open(path, "a").close()
                os.utime(path, None)
        except OSError as error:
            return "cannot touch its output (%s)" % error
        missing = self.missing(self.facts["makes"])
        return "has not made %s" % ", ".join(missing[:3]) if missing else None


class Unit:
    """A single job, or jobs that run at the same time, because pipes or services connect them."""

    def __init__(self, jobs):
        self.connected = len(jobs) > 1
        self.jobs = [Job(facts, self) for facts in jobs]
        names = {name for facts in jobs for name in facts["asks"]}
        self.asks = {name: sum(facts["asks"].get(name, 0) for facts in jobs) for name in names}
        self.failed = False
        self.end_at = None  # when the jobs that still run get TERM, and then KILL
        self.terminated = False
        self.died = None  # (job, code, why) of a service that has failed while jobs use it
        self.late_at = {}  # {job: when the file of a service that it waits for is late}

    def make_pipes(self):
        for job in self.jobs:
            for name in job.facts["pipes"]:
                remove(job.path(name))
                os.mkfifo(job.path(name))

    def remove_pipes(self):
        for job in self.jobs:
            for name in job.facts["pipes"]:
                remove(job.path(name))

    def is_over(self, ending):
        if any(job.runs or (job.waits and not (self.failed or ending)) for job in self.jobs):
            return False
        return not self.terminated or not any(job.signal(0) for job in self.jobs)

    def needs_look(self):
        """Return whether something may be due although no job ends."""
        return self.end_at is not None or bool(self.late_at)


def raw(text):
    return text.encode("utf-8", "surrogateescape")


def remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def say(text):
    os.write(1, raw("harbor: %s\n" % text))
