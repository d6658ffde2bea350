"""List every job of a run: node, times, CPU seconds, peak memory, exit code and attempts."""

import argparse
import csv
import json
import sys
import time
from typing import Any

from ..views.jobs import jobs
from .columns import columns
from .run_option import add_run_option, chosen_run
from .status import clock

COLUMNS = ("job", "rule", "case", "state", "node", "exit", "tries", "start", "end", "wait", "took", "cpu", "memory")
NUMBERS = ("exit", "tries", "wait", "took", "cpu", "memory")
TIMES = ("submitted", "started", "ended")
NAMED = ("job", "rule", "case", "state", "node", "exit", "attempts")
CSV = (*NAMED, *TIMES, "wait_s", "duration_s", "cpu_s", "peak_mb", "threads", "log", "reason")
CASE_MAX = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_option(parser)
    parser.add_argument("--failed", action="store_true", help="only the jobs that failed")
    parser.add_argument("--csv", action="store_true", help="print CSV, with times as in ISO 8601")


def run(arguments: argparse.Namespace) -> int:
    reader = chosen_run(arguments)
    found = jobs(reader, arguments.failed)
    if arguments.json:
        print(json.dumps({"run": reader.run, "jobs": found}))
    elif arguments.csv:
        _write_csv(found)
    elif found:
        for line in columns(COLUMNS, [_cells(job) for job in found], NUMBERS):
            print(line)
    else:
        print(f"run {reader.run} has no job{' that failed' if arguments.failed else ''}")
    return 0


def _write_csv(found: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for job in found:
        times = {key: _iso(job[key]) for key in TIMES}
        writer.writerow({**job, **times, "job": job["id"], "case": _case(job)})


def _iso(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))


def _case(job: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in job["wildcards"].items())


def _cells(job: dict[str, Any]) -> list[str]:
    case = _case(job)
    return [
        job["id"],
        job["rule"],
        case if len(case) <= CASE_MAX else f"{case[: CASE_MAX - 3]}...",
        job["state"],
        job["node"] or "-",
        "-" if job["exit"] is None else str(job["exit"]),
        str(job["attempts"]),
        *(
            "-" if at is None else time.strftime("%H:%M:%S", time.localtime(at))
            for at in (job["started"], job["ended"])
        ),
        *("-" if seconds is None else clock(seconds) for seconds in (job["wait_s"], job["duration_s"])),
        "-" if job["cpu_s"] is None else f"{job['cpu_s']:.1f}",
        "-" if job["peak_mb"] is None else f"{job['peak_mb']:.0f} MiB",
    ]
