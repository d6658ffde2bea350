"""Follow the output of the run of this directory, from any terminal. Ctrl-C leaves the run alone."""

import argparse
import json
import os
import sys
from pathlib import Path

from ..errors import HarborError
from ..store.journal_reader import JournalReader, open_run
from ..store.output_log import output_of
from ..store.workdir import controller_of, is_complete
from .follow import follow, last_lines

LINES = 100
"""Lines that are shown of the output before the command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing, because the command has no options of its own."""


def run(arguments: argparse.Namespace) -> int:
    reader = open_run(Path.cwd())
    controller, path = controller_of(reader.workdir), output_of(reader)
    if arguments.json:
        print(json.dumps({"run": reader.run, "running": controller is not None, "output": path and str(path)}))
        return 0
    if path is None or not path.exists():
        raise HarborError(f"the output of run {reader.run} is in no file.", "harbor status")
    print(f"harbor: the output of run {reader.run}, from {os.path.relpath(path)}", file=sys.stderr)
    try:
        follow(path, lambda: controller is None or not controller.alive(), last_lines(path, LINES))
    except KeyboardInterrupt:
        print("\nharbor: the run goes on. Type again: harbor attach   # harbor stop --now ends it", file=sys.stderr)
        raise
    return report_end(reader)


def report_end(reader: JournalReader) -> int:
    """Say how a run has ended, and return the exit code that Snakemake had."""
    complete = is_complete(reader.workdir, reader.run)
    how = "all jobs are done" if complete else "not all jobs are done. Type: harbor status"
    print(f"harbor: run {reader.run} has ended, {how}", file=sys.stderr)
    return 0 if complete else 1
