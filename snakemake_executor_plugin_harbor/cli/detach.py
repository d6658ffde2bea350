"""End the running controller. Its jobs go on, and the next run takes them over."""

import argparse
import json
from pathlib import Path

from ..store.control_socket import ask
from ..store.journal_reader import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because the command has no options of its own."""


def run(arguments: argparse.Namespace) -> int:
    answer = ask(open_run(Path.cwd()).path.parent, {"op": "detach"})
    if arguments.json:
        print(json.dumps(answer))
    else:
        print(f"detached: {answer['jobs']} jobs go on or wait. The same snakemake command takes them over.")
    return 0
