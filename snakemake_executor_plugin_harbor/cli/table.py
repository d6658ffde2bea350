"""Make the tables of what is done and what has failed in the sweeps of this directory, also while they run.

results/SWEEP/partial.csv has the cases that are done, and failed.csv those that have failed, with the reasons.
"""

import argparse
import difflib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..store.journal_reader import failed_cases, open_run

SWEEP = Path(".snakemake/sweep")
"""Reading the Snakefile puts the scripts of the workflow there, and the list of its sweeps."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP", help="the name of a sweep; default: all")


def run(arguments: argparse.Namespace) -> int:
    found = make(arguments.sweeps)
    if arguments.json:
        print(json.dumps({"sweeps": [{key: sweep[key] for key in sweep if key != "text"} for sweep in found]}))
    else:
        for sweep in found:
            print(sweep["text"])
    return 1 if any("error" in sweep for sweep in found) else 0


def make(sweeps: list[str]) -> list[dict[str, Any]]:
    """Make the tables, and return what they hold. Raises HarborError if there is no such sweep."""
    try:
        known = list(json.loads((SWEEP / "sweeps.json").read_text()))
    except FileNotFoundError:
        raise HarborError(
            f"no sweep has been run in {Path.cwd()}.",
            "snakemake --profile profiles/local   # or change to the directory where you started it",
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise HarborError(f"{SWEEP / 'sweeps.json'} cannot be read: {error}.", "snakemake -n   # writes it") from error
    for name in sweeps:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1) or known
            raise HarborError(f"there is no sweep {name!r}; there are {', '.join(known)}.", f"harbor table {close[0]}")
    command = [sys.executable, str(SWEEP / "partial_table.py"), *sweeps]
    ended = subprocess.run(command, input=json.dumps(_told()), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        why = (ended.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise HarborError(f"the tables cannot be made: {why}.", "snakemake -n   # writes the files that are needed")
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


def _told() -> list[dict[str, Any]]:
    """Return the failures that the journal of the latest run knows. There is none with another executor."""
    try:
        return failed_cases(open_run(Path.cwd()))
    except HarborError:
        return []
