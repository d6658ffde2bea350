"""Run trivial jobs over sshd hosts on loopback, side by side with Snakemake's local executor.

    python benchmarks/throughput.py [--jobs 2000] [--rounds 3]

Each round runs three things, one after the other and in fresh directories: the local executor, harbor with Snakemake's
greedy scheduler, and harbor with its own scheduler. All have the same documented options: as many cores as the pool has
slots, `--max-jobs-per-timespan 100000/1s`, `-q all`. The script prints wall times and their ratio to the local run of
the same round, so that the machine's own speed cancels out. It needs sshd but no root.

All files, also the nodes' scratch, are on a tmpfs if there is one. On ext4, making a file takes up to 1 ms after many
files were deleted in the last minutes, so each run would pay for the one before it.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sshd import hosts

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(int(config["count"])))

rule one:
    output: "out/{i}"
    shell: "echo {wildcards.i} > {output}"
"""
NODES, SLOTS = 3, 8


def run(base: Path, name: str, jobs: int, *options: str) -> float:
    """Return the wall time (seconds) of one run in a directory of its own."""
    directory = base / name
    directory.mkdir()
    (directory / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "-q", "all", "--max-jobs-per-timespan", "100000/1s"]
    started = time.monotonic()
    subprocess.run([*command, "--config", f"count={jobs}", *options], cwd=directory, check=True)
    took = time.monotonic() - started
    assert len(list((directory / "out").iterdir())) == jobs
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="harbor-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    ratios: dict[str, list[float]] = {"greedy": [], "harbor": []}
    try:
        with hosts(NODES, base / "sshd") as pool:
            names = ",".join(f"{SLOTS}/node{i}" for i in range(1, NODES + 1))
            ours = ["--executor", "harbor", "--harbor-hosts", names, "--harbor-ssh-config", str(pool.ssh_config)]
            ours += ["--jobs", str(NODES * SLOTS * 2), "--harbor-scratch", str(base / "scratch")]
            theirs = ["--executor", "local", "--cores", str(NODES * SLOTS), "--scheduler", "greedy"]
            for number in range(arguments.rounds):
                local = run(base, f"{number}-local", arguments.jobs, *theirs)
                print(f"round {number + 1}: local executor {local:.1f} s", end="", flush=True)
                for scheduler, found in ratios.items():
                    took = run(base, f"{number}-{scheduler}", arguments.jobs, *ours, "--scheduler", scheduler)
                    found.append(took / local)
                    print(f", harbor with {scheduler} {took:.1f} s ({took / local:.2f}x)", end="", flush=True)
                print()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for scheduler, found in ratios.items():
        print(f"{scheduler}: {statistics.median(found):.2f}x of local (min {min(found):.2f}, max {max(found):.2f})")
    print(f"{arguments.jobs} jobs, {NODES} sshd hosts of {SLOTS} slots, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
