"""List the runs of this directory, the last one at the end: when, state, jobs, failures and duration."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..store.run_list import all_runs, runs_of
from ..views.history import history
from .columns import columns
from .status import clock

NUMBERS = ("jobs", "done", "failed", "took")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="the runs of all your directories")


def run(arguments: argparse.Namespace) -> int:
    runs = history(all_runs() if arguments.all else runs_of(Path.cwd()))
    if arguments.json:
        print(json.dumps({"runs": runs}))
        return 0
    if not runs:
        where = "you have" if arguments.all else f"{Path.cwd()} has"
        raise HarborError(
            f"{where} no harbor run whose journal is on this machine.",
            "snakemake --executor harbor --jobs 100" if arguments.all else "harbor history --all",
        )
    names = ["run", "began", "state", *NUMBERS, *(["directory"] if arguments.all else [])]
    now = time.time()
    for line in columns(names, [_cells(run, now, arguments.all) for run in runs], NUMBERS):
        print(line)
    return 0


def _cells(run: dict[str, Any], now: float, directory: bool) -> list[str]:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run["started"])) if run["started"] else "-"
    took = clock((run["ended"] or now) - run["started"]) if run["started"] else "-"
    cells = [run["run"], began, run["state"], str(run["jobs"]), str(run["succeeded"]), str(run["failed"]), took]
    return [*cells, run["directory"]] if directory else cells
