"""Runs the jobs of one group on a node: level after level, and the jobs of a level side by side.

The controller sends this program as the script of an attempt, with the jobs in its last line. It is no part of the
agent. If a job fails, no further one starts, and the exit code is that of the job.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

LONG = 100000  # bytes: the kernel takes at most 128 KiB in one argument


def main(text):
    """Run the jobs of `text`, which is JSON: the cores of the group, and its levels."""
    group = json.loads(text)
    jobs, done = [job for level in group["levels"] for job in level], []
    for number, job in enumerate(jobs):
        job["number"] = number
    for level in group["levels"]:
        failed = run_level(level, group["cores"], done)
        if failed is not None:
            job, code, why = failed
            if done:  # The controller reads these numbers, so that a retry does not run these jobs again.
                numbers = " ".join(str(number) for number in sorted(done))
                say("%d of %d jobs of the group have succeeded: %s" % (len(done), len(jobs), numbers))
            log = "; its log: %s" % job["log"] if job.get("log") else ""
            say("job %s %s, so the group ends%s" % (job["name"], why, log))
            sys.exit(code if 0 < code < 256 else 128 - code if code < 0 else 1)


def run_level(level, cores, done):
    """Run the jobs of a level within the cores, and add the numbers of those that succeed to `done`.

    Returns (job, exit code, why) of the first one that failed, or None.
    """
    waiting, running, failed = list(level), [], None
    while running or (waiting and failed is None):
        while waiting and failed is None and (not running or used(running) + waiting[0]["threads"] <= cores):
            job = waiting.pop(0)
            try:
                running.append((job, start(job)))
            except OSError as error:
                say("job %s could not be started: %s" % (job["name"], error))
                failed = (job, 126, "could not be started")
        pid, status = os.wait() if running else (0, 0)
        for pair in [pair for pair in running if pair[1].pid == pid]:
            running.remove(pair)
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
            pair[1].returncode = code
            remove_script(pair[1])
            code, why = (code, "failed with exit code %d" % code) if code else complete(pair[0])
            if not code:
                done.append(pair[0]["number"])
            elif failed is None:
                failed = (pair[0], code, why)
    return failed


def complete(job):
    """Make the files that Snakemake would touch after the job, and look for those that the job makes itself.

    Returns (exit code, why).
    """
    place = job["cwd"] or "."
    try:
        for name in job["touch"]:
            path = os.path.join(place, name)
            if not os.path.isdir(path):
                open(path, "a").close()
            os.utime(path, None)
    except OSError as error:
        return 1, "cannot touch its output (%s)" % error
    missing = [name for name in job["makes"] if not os.path.lexists(os.path.join(place, name))]
    return (1, "has not made %s" % ", ".join(missing[:3])) if missing else (0, "")


def used(running):
    return sum(job["threads"] for job, _ in running)


def start(job):
    """Start the shell of a job, with its own environment and directory."""
    env = dict(os.environ)
    for name, value in job["env"].items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    script = job["script"]
    argv = [job["shell"], "-c", script]
    if len(script.encode("utf-8", "surrogateescape")) > LONG:
        with tempfile.NamedTemporaryFile("wb", prefix="harbor-", suffix=".sh", delete=False) as f:
            f.write(script.encode("utf-8", "surrogateescape") + b"\n")
        argv[1:] = [f.name]
    return subprocess.Popen(argv, env=env, cwd=job["cwd"] or None)


def remove_script(process):
    """Remove the file that was written for a long script."""
    if process.args[1] != "-c":
        try:
            os.unlink(process.args[1])
        except OSError:
            pass


def say(text):
    sys.stdout.write("harbor: %s (%s)\n" % (text, time.strftime("%H:%M:%S")))
    sys.stdout.flush()
