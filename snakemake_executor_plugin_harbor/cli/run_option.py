"""The option `--run` of the commands that show a run."""

import argparse
from pathlib import Path

from ..store.journal_reader import JournalReader, open_run
from ..store.run_list import open_named_run


def add_run_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        dest="run_name",
        metavar="ID",
        help="the run, as in `harbor history`; its beginning or its end is enough. Default: the last run here",
    )


def chosen_run(arguments: argparse.Namespace) -> JournalReader:
    """Return the journal of the run that `--run` names, or of the last run of this directory. Raises HarborError."""
    if arguments.run_name is None:
        return open_run(Path.cwd())
    return open_named_run(arguments.run_name, Path.cwd())
