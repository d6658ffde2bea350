"""Measure what staging costs, on a host that does not have the working directory and on one that shares it.

    python benchmarks/staging.py [--input-mb 2000] [--jobs 50]

The lab of the tests has both hosts (root on Linux). The script runs two workflows on each of them:

  one input   Many jobs need one large file. The script prints how many bytes the link carried as a multiple of the
              file's size, and the peak of the controller's memory (with its child processes).
  finish      Short jobs run beside jobs that have 20 MB of input each and 20 MB of output. The link carries 10 MB/s.
              The script prints how soon Snakemake knows of the end of a short job.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
from latency import WATCHER

from tests.lab import Lab, LabError

ONE_INPUT = """
rule all:
    input: expand("out/{i}", i=range(config["count"]))

rule one:
    input: "large"
    output: "out/{i}"
    shell: "stat -c %s {input} > {output}"
"""
FINISH = """
rule all:
    input: expand("short/{i}", i=range(config["count"])), expand("long/{i}", i=range(config["count"] // 20))

rule short:
    output: "short/{i}"
    shell: "sleep 0.$((RANDOM % 400 + 100)); date +%s.%N > {output}"

rule long:
    input: "in/{i}"
    output: "long/{i}"
    shell: "cat {input} > {output}"
"""
LONG_MB = 20
MIB = 1 << 20


class Memory(threading.Thread):
    """Watches the resident memory of a process and its children. `peak` is in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._stop_asked = threading.Event()
        self.peak = 0

    def run(self) -> None:
        while not self._stop_asked.wait(0.02):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                self.peak = max(self.peak, sum(process.memory_info().rss for process in tree))
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> int:
        self._stop_asked.set()
        self.join()
        return self.peak


def run(lab: Lab, host: str, directory: Path, count: int, slots: int) -> int:
    """Run the workflow of the directory on one host. Return the peak of the controller's memory (bytes)."""
    command = [sys.executable, "-c", WATCHER, "-q", "all", "--executor", "harbor", "--jobs", "1000"]
    command += ["--harbor-hosts", f"{slots}/{host}", "--harbor-ssh-config", str(lab.ssh_config)]
    command += ["--harbor-max-load", "50", "--scheduler", "harbor", "--max-jobs-per-timespan", "100000/1s"]
    process = subprocess.Popen([*command, "--config", f"count={count}"], cwd=directory)
    memory = Memory(process.pid)
    memory.start()
    if process.wait():
        raise SystemExit(f"staging: Snakemake ended with exit code {process.returncode} in {directory}")
    return memory.stop()


def delays(directory: Path) -> list[float]:
    """Return how long after its end (seconds) Snakemake knew of each short job, in ascending order."""
    heard = json.loads((directory / "heard.json").read_text())
    return sorted(at - float((directory / path).read_text()) for path, at, _, _ in heard if path.startswith("short"))


def make(base: Path, name: str, snakefile: str) -> Path:
    directory = base / name
    directory.mkdir()
    (directory / "Snakefile").write_text(snakefile)
    return directory


def one_input(base: Path, size_mb: int, jobs: int) -> None:
    peaks = {}
    for name in ("shared", "staged"):
        directory = make(base, f"one-{name}", ONE_INPUT)
        with (directory / "large").open("wb") as f:
            for _ in range(size_mb):
                f.write(os.urandom(MIB))
        missing = {"host1": [directory]} if name == "staged" else {}
        with Lab(1, [directory], base / "lab", missing=missing, disk_mb=3 * size_mb + 256) as lab:
            peaks[name] = run(lab, "host1", directory, jobs, 8)
            sent = lab.network.sent(1)
        assert {path.read_text() for path in (directory / "out").iterdir()} == {f"{size_mb * MIB}\n"}
        shutil.rmtree(directory)
        print(f"one input, {name}: the link carried {sent / MIB:.0f} MiB, {sent / MIB / size_mb:.2f} of the input;"
              f" the controller used {peaks[name] / MIB:.0f} MiB")  # fmt: skip
    print(f"one input: staging needs {(peaks['staged'] - peaks['shared']) / MIB:+.0f} MiB more memory")


def finish(base: Path, jobs: int) -> None:
    for name in ("shared", "staged"):
        directory = make(base, f"finish-{name}", FINISH)
        (directory / "in").mkdir()
        for i in range(jobs // 20):
            (directory / "in" / str(i)).write_bytes(os.urandom(LONG_MB * MIB))
        missing = {"host1": [directory]} if name == "staged" else {}
        with Lab(1, [directory], base / "lab", missing=missing, disk_mb=4096) as lab:
            lab.fault("host1", "narrow")
            run(lab, "host1", directory, jobs, 8)
        found = delays(directory)
        shutil.rmtree(directory)
        median, late = (found[int(share * (len(found) - 1))] * 1000 for share in (0.5, 0.95))
        print(f"finish, {name}: known after {median:.0f} ms (median), {late:.0f} ms (p95), {len(found)} short jobs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-mb", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=50)
    given = parser.parse_args()
    reason = Lab.unavailable()
    if reason:
        raise SystemExit(f"staging: {reason}")
    base = Path(tempfile.mkdtemp(prefix="harbor-staging-"))
    try:
        one_input(base, given.input_mb, given.jobs)
        finish(base, 8 * given.jobs)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        raise SystemExit(f"staging: {error}") from error
