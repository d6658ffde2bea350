"""Measure the commands of `harbor` in a directory with many runs.

    python benchmarks/many_runs.py [--runs 200] [--jobs 1000] [--times 5]

Each run is written by the journal's own writer, with the facts, states and logs of a run that has ended. The script
prints the median of the wall time and of the CPU time of each command, with Python's start, and those of Python alone.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.old_runs import remove_old_runs
from snakemake_executor_plugin_harbor.store.workdir import Workdir

COMMANDS = (
    ["status"],
    ["status", "--json"],
    ["status", "--run", "RUN"],
    ["log", "7"],
    ["log", "7", "--run", "RUN"],
    ["explain", "7"],
    ["history"],
    ["history", "--all"],
    ["history", "--json"],
    ["jobs"],
    ["jobs", "--csv"],
    ["jobs", "--json"],
    ["jobs", "--failed", "--run", "RUN"],
    ["clean", "--here"],
)
# What `harbor` does, with the journals in another place.
CODE = """
import sys
from pathlib import Path
from snakemake_executor_plugin_harbor.store import run_directories
run_directories.runs_directory = lambda: Path({runs!r})
from snakemake_executor_plugin_harbor.cli import main
sys.exit(main())
"""


def write_run(project: Path, runs: Path, name: str, jobs: int, started: float) -> None:
    """Write a run of this project, which has ended."""
    journal_writer.runs_directory = lambda: runs
    workdir = Workdir(project, name)
    workdir.acquire()
    journal = Journal(name)
    workdir.write_pointer(journal.path)
    facts = {"workdir": str(project), "resolved": os.path.realpath(project), "id": workdir.id, "run": name}
    journal.set_facts(
        **facts,
        owner=workdir.owner.__dict__,
        state="running",
        log_dir=".snakemake/harbor_logs",
        started=started,
        total=jobs,
    )
    journal.describe_run()
    for number in range(jobs):
        id, log = f"{name}/{number}", project / f".snakemake/harbor_logs/case/{number}.1.log"
        journal.add_job(id, str(number), "case", {"case": f"c{number:04}"}, 1, started + number)
        ends = "failed" if number % 50 == 0 else "succeeded"
        for later, state in enumerate(("queued", "placed", "starting", "running", ends)):
            node = f"node{number % 40}" if later else None
            journal.add_change(id, 1, state, node, "", started + number + later, str(log) if later else None)
        step = {"cpu_s": 2.5, "max_rss_mb": 120.0}
        journal.add_exit(id, {"code": int(ends == "failed"), "steps": [step]})
        if number % 50 == 49:
            journal.commit()
    journal.set_facts(state="ended", ended=started + jobs)
    journal.close()
    workdir.release()


def write_logs(project: Path, jobs: int) -> None:
    """Write the logs of a run's jobs."""
    logs = project / ".snakemake/harbor_logs/case"
    logs.mkdir(parents=True, exist_ok=True)
    for number in range(jobs):
        (logs / f"{number}.1.log").write_text("a line\n" * 20)


def measure(words: list[str], project: Path, times: int) -> str:
    """Return the median of the wall time and of the CPU time of a command, in seconds."""
    taken, used = [], []
    for _ in range(times):
        begun, before = time.perf_counter(), os.times()
        done = subprocess.run(words, cwd=project, capture_output=True, check=False)
        taken.append(time.perf_counter() - begun)
        after = os.times()
        used.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.returncode == 0, done.stderr.decode()
    return f"{statistics.median(taken):6.3f} {statistics.median(used):6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        project, runs = Path(directory, "project"), Path(directory, "runs")
        project.mkdir()
        runs.mkdir()
        first = time.time() - given.runs * 3600
        for number in range(given.runs):
            started = first + number * 3600
            name = time.strftime("%y%m%d-%H%M%S-", time.localtime(started)) + f"{number:06x}"
            write_run(project, runs, name, given.jobs, started)
        write_logs(project, given.jobs)
        begun = time.perf_counter()
        remove_old_runs(runs, 500, 30)
        print(f"{time.perf_counter() - begun:6.3f}         removal of old runs at a start, with nothing to remove")
        print(f"{measure([sys.executable, '-c', 'pass'], project, given.times)}  python -c pass")
        for words in COMMANDS:
            command = [sys.executable, "-c", CODE.format(runs=str(runs))]
            command += [name if word == "RUN" else word for word in words]
            print(f"{measure(command, project, given.times)}  harbor {' '.join(words)}", flush=True)


if __name__ == "__main__":
    main()
