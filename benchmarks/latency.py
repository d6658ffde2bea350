"""Measure how soon Snakemake knows of a job's end, and what the controller costs meanwhile.

    python benchmarks/latency.py [--jobs 300]

The last action of each job is to write the time. Snakemake's own callback is timed in the same process that a user
runs. The same workflow then runs on the local executor. The script prints the delay (median, 95th percentile, maximum),
the largest number of threads, and the growth of memory between the first and the last quarter of the jobs.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sshd import hosts

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(int(config["count"])))

rule one:
    output: "out/{i}"
    shell: "sleep 0.$((RANDOM % 400 + 100)); date +%s.%N > {output}"
"""
# This code runs inside Snakemake's process. It writes down when the scheduler is told of each end.
WATCHER = """
import atexit, json, sys, threading, time
import psutil
from snakemake.scheduling.job_scheduler import JobScheduler
heard, proceed, me = [], JobScheduler._proceed, psutil.Process()
def noted(self, job):
    now = time.time()
    if job.output:
        heard.append((str(job.output[0]), now, me.memory_info().rss, threading.active_count()))
    proceed(self, job)
JobScheduler._proceed = noted
atexit.register(lambda: json.dump(heard, open("heard.json", "w")))
from snakemake.cli import main
main()
"""


def run(directory: Path, jobs: int, *options: str) -> None:
    directory.mkdir()
    (directory / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-c", WATCHER, "-q", "all", "--max-jobs-per-timespan", "100000/1s"]
    subprocess.run([*command, "--config", f"count={jobs}", *options], cwd=directory, check=True)


def show(name: str, directory: Path) -> None:
    heard = json.loads((directory / "heard.json").read_text())
    delays = sorted(at - float((directory / path).read_text()) for path, at, _, _ in heard)
    quarter = len(heard) // 4
    early = max(rss for _, _, rss, _ in heard[:quarter])
    late = max(rss for _, _, rss, _ in heard[-quarter:])
    at = {share: delays[min(len(delays) - 1, int(share * len(delays)))] * 1000 for share in (0.5, 0.95)}
    print(
        f"{name:16} end known after {at[0.5]:.1f} ms (median), {at[0.95]:.1f} ms (p95), "
        f"{delays[-1] * 1000:.1f} ms (max); "
        f"at most {max(threads for _, _, _, threads in heard)} threads; "
        f"memory grew by {(late - early) / 1024:.0f} KiB over the last {len(heard) - quarter} jobs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="harbor-bench-"))
    try:
        with hosts(3, base / "sshd") as pool:
            ours = ["--executor", "harbor", "--harbor-hosts", "8/node1,8/node2,8/node3", "--jobs", "100"]
            ours += ["--harbor-ssh-config", str(pool.ssh_config), "--scheduler", "harbor"]
            run(base / "harbor", arguments.jobs, *ours)
            run(base / "local", arguments.jobs, "--executor", "local", "--cores", "24", "--scheduler", "greedy")
        show("harbor over ssh", base / "harbor")
        show("local executor", base / "local")
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
