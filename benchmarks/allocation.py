"""Run trivial jobs with harbor inside a Slurm allocation, and one by one through Snakemake's Slurm plugin.

    python benchmarks/allocation.py [--jobs 1000] [--batch-jobs 32]

It starts a Slurm of its own with four nodes of eight cores, all on this machine, and SSH servers for them. It prints
jobs per second of wall time, from the start of Snakemake to its end, and the ratio. It needs root and the packages of
tests/need_sshd.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.throughput import SNAKEFILE
from tests.clusters.slurm import missing, slurm
from tests.sshd import hosts

PROFILES = Path(__file__).parents[1] / "profiles"


def rate(directory: Path, jobs: int, path: str, *command: str) -> float:
    """Return the jobs per second of one run in a directory of its own."""
    directory.mkdir()
    (directory / "Snakefile").write_text(SNAKEFILE)
    started = time.monotonic()
    env = {**os.environ, "PATH": path}
    subprocess.run([*command, "-q", "all", "--config", f"count={jobs}"], cwd=directory, env=env, check=True)
    assert len(list((directory / "out").iterdir())) == jobs
    return jobs / (time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--batch-jobs", type=int, default=32)
    arguments = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    snakemake = [sys.executable, "-m", "snakemake", "--profile"]
    with tempfile.TemporaryDirectory(prefix="harbor-bench-") as name:
        base = Path(name)
        with slurm(base / "slurm") as cluster, hosts(4, base / "sshd") as pool:
            path = f"{cluster.bin}:{os.environ['PATH']}"
            nodes = ["--harbor-hosts", "slurm", "--harbor-hostfile", "/dev/null"]
            nodes += ["--harbor-ssh-config", str(pool.ssh_config), "--harbor-max-load", "50"]
            allocation = ["salloc", "-Q", "-N4", "--exclusive", *snakemake, str(PROFILES / "pool"), *nodes]
            harbor = rate(base / "harbor", arguments.jobs, path, *allocation)
            print(f"harbor in an allocation: {harbor:.1f} jobs/s", flush=True)
            submit = [*snakemake, str(PROFILES / "slurm"), "--slurm-status-command", "squeue"]
            batch = rate(base / "batch", arguments.batch_jobs, path, *submit)
            print(f"profiles/slurm: {batch:.2f} jobs/s\nratio: {harbor / batch:.0f}")


if __name__ == "__main__":
    main()
