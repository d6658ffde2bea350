"""End the run of this directory. Nothing more starts, and the jobs that run may finish.

With --now, every job on every node is ended, too, as by Ctrl-C in the terminal of the run.
"""

import argparse
import json
import time
from pathlib import Path

from ..core.lifecycle import ON_NODE
from ..errors import HarborError
from ..store.control_socket import ask
from ..store.journal_reader import JournalReader, open_run
from ..store.workdir import Owner, controller_of

END_S = 30.0
"""Ctrl-C ends the jobs within 10 s, if the machine is not overloaded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", action="store_true", help="end the jobs that run, too, as Ctrl-C does")


def run(arguments: argparse.Namespace) -> int:
    reader = open_run(Path.cwd())
    controller = controller_of(reader.workdir)
    if controller is None:
        raise HarborError(f"no run goes on in {Path.cwd()}. The last one, {reader.run}, has ended.", "harbor status")
    jobs = _jobs_on_nodes(reader)
    ask(reader.path.parent, {"op": "stop", "now": arguments.now})
    if arguments.now:
        _wait_for_end(controller)
    if arguments.json:
        print(json.dumps({"run": reader.run, "now": arguments.now, "jobs": jobs}))
    elif arguments.now:
        print(f"run {reader.run} has ended, and its {jobs} jobs on the nodes, too. The same command begins them again.")
    else:
        print(f"run {reader.run} starts nothing more, and ends when the {jobs} jobs on the nodes have ended.")
        print("  harbor attach       # follows it\n  harbor stop --now   # ends these jobs, too")
    return 0


def _jobs_on_nodes(reader: JournalReader) -> int:
    states = ", ".join(f"'{state}'" for state in ON_NODE)
    return int(reader.rows(f"SELECT count(*) AS n FROM jobs WHERE state IN ({states})")[0]["n"])


def _wait_for_end(controller: Owner) -> None:
    deadline = time.monotonic() + END_S
    while controller.alive():
        if time.monotonic() > deadline:
            raise HarborError(
                f"process {controller.pid} has not ended within {END_S:.0f} s, although it was told to.",
                f"harbor attach   # or, as the last resort: kill -9 {controller.pid}",
            )
        time.sleep(0.1)
