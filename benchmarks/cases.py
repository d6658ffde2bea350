"""Run a sweep of short cases over sshd hosts on loopback, side by side with Snakemake's local executor.

    python benchmarks/cases.py [--cases 1000] [--rounds 1]

Each case has a pre-processor and a command, which are the job `run`, and a post-processor, which is the job `post`. On
nodes both jobs are one group. Each round runs three things, one after the other and in fresh directories: the local
executor, harbor with the shared directory, and harbor with `--harbor-staging always`, so that all files are sent and
fetched. All have the same documented options: as many cores as the pool has slots, `--max-jobs-per-timespan 100000/1s`,
`-q all`. The script compares the tables of the sweeps, and prints wall times and their ratio to the local run of the
same round. It needs sshd but no root. All files are on a tmpfs if there is one (`throughput.py` says why).
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

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sshd import hosts

PROJECT = Path(__file__).parents[1]
NODES, SLOTS = 4, 4


def make(directory: Path, cases: int) -> None:
    """Make a project with the sweep."""
    (directory / "template").mkdir(parents=True)
    (directory / "template" / "input.txt").write_text("a text that each case copies\n" * 20)
    sweep = {
        "template": "template",
        "grid": {"x": list(range(cases))},
        "pre": "sed s/text/{x}/ input.txt > changed.txt",
        "run": "wc -w < changed.txt > words.txt",
        "post": "echo words > result.csv && cat words.txt >> result.csv",
        "result": "result.csv",
    }
    (directory / "config").mkdir()
    (directory / "config" / "config.yaml").write_text(yaml.safe_dump({"sweeps": {"short": sweep}}))


def run(base: Path, name: str, cases: int, *options: str) -> tuple[float, str]:
    """Return the wall time (seconds) of one run in a directory of its own, and the table that it has made."""
    directory = base / name
    make(directory, cases)
    command = [sys.executable, "-m", "snakemake", "-q", "all", "--max-jobs-per-timespan", "100000/1s"]
    command += ["--snakefile", str(PROJECT / "workflow" / "Snakefile")]
    started = time.monotonic()
    subprocess.run([*command, *options], cwd=directory, check=True)
    return time.monotonic() - started, (directory / "results" / "short" / "results.csv").read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="harbor-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    ratios: dict[str, list[float]] = {"shared": [], "sent": []}
    try:
        with hosts(NODES, base / "sshd") as pool:
            names = ",".join(f"{SLOTS}/node{i}" for i in range(1, NODES + 1))
            ours = ["--executor", "harbor", "--harbor-hosts", names, "--harbor-ssh-config", str(pool.ssh_config)]
            ours += ["--jobs", str(NODES * SLOTS * 2), "--scheduler", "harbor"]
            theirs = ["--executor", "local", "--cores", str(NODES * SLOTS), "--scheduler", "greedy"]
            for number in range(arguments.rounds):
                local, table = run(base, f"{number}-local", arguments.cases, *theirs)
                print(f"round {number + 1}: local executor {local:.1f} s", end="", flush=True)
                for way, found in ratios.items():
                    options = ["--harbor-scratch", str(base / f"{number}-scratch-{way}")]
                    options += ["--harbor-staging", "always"] if way == "sent" else []
                    took, made = run(base, f"{number}-{way}", arguments.cases, *ours, *options)
                    assert made == table
                    found.append(took / local)
                    print(f", harbor with files {way} {took:.1f} s ({took / local:.2f}x)", end="", flush=True)
                print()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for way, found in ratios.items():
        print(f"{way}: {statistics.median(found):.2f}x of local (min {min(found):.2f}, max {max(found):.2f})")
    print(f"{arguments.cases} cases, {NODES} sshd hosts of {SLOTS} slots, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
