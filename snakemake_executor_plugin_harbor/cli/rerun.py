"""Say the Snakemake command that runs cases again, from fresh copies of their templates, or run it with --yes.

The command has the options of the latest run in this directory. After a run with another executor, give --profile or
--snakefile. The other cases stay as they are, and the next run without `only` makes the table.
"""

import argparse
import difflib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import HarborError
from ..store.journal_reader import open_run

ALONE = {"-f", "--force", "-F", "--forceall", "--"}
"""Options without a value that would run more than these cases, or end the options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cases", nargs="+", metavar="CASE", help="the name of a case that has run, or has failed")
    parser.add_argument(
        "--profile", metavar="NAME", help="Snakemake's profile, instead of the options of the latest run"
    )
    parser.add_argument("--snakefile", metavar="FILE", help="the Snakefile, instead of the options of the latest run")
    parser.add_argument("--yes", action="store_true", help="run the command")


def run(arguments: argparse.Namespace) -> int:
    cases = list(dict.fromkeys(arguments.cases))
    forced = [directory for case in cases for directory in _directories(case)]
    options = again(_options(arguments), cases, forced)
    if arguments.json:
        print(json.dumps({"command": ["snakemake", *options]}), flush=True)
    else:
        print(shlex.join(["snakemake", *options]), flush=True)
    if not arguments.yes:
        return 0
    return subprocess.run([sys.executable, "-m", "snakemake", *options], check=False).returncode


def again(options: Sequence[str], cases: Sequence[str], forced: Sequence[str]) -> list[str]:
    """Return the options of a run for these cases, from those of another run. Snakemake takes each option once."""
    kept: list[str] = []
    config: list[str] = []
    merged = {"--config": config, "-C": config, "--forcerun": [], "-R": []}
    into = kept
    for word in options:
        name, equals, value = word.partition("=")
        if name in merged:
            into = merged[name]
            into += [value] if equals else []
        elif word.startswith("-"):
            into = kept
            kept += [word] if word not in ALONE else []
        else:
            into.append(word)
    # A comma separates names, and may be a part of one.
    separable = len(cases) == 1 or not any("," in case for case in cases)
    only = ",".join(cases) if separable else f"case in {tuple(cases)}"
    config = [entry for entry in config if not entry.startswith("only=")]
    return [*kept, "--config", *config, f"only={only}", "--forcerun", *forced]


def _directories(case: str) -> list[str]:
    """Return the directory of the case in each sweep in which it has begun. Its log is there from then on."""
    logs = sorted(Path("results").glob("*/logs/run"))
    found = [str(place.parents[1] / "cases" / case) for place in logs if (place / f"{case}.log").is_file()]
    if not found:
        known = sorted({file.stem for place in logs for file in place.glob("*.log")})
        close = difflib.get_close_matches(case, known, n=1)
        new = f"snakemake --config only={shlex.quote(case)}   # and your other options; it starts a case that is new"
        raise HarborError(
            f"no case {case!r} has begun in {Path.cwd()}.", f"harbor rerun {shlex.quote(close[0])}" if close else new
        )
    return found


def _options(arguments: argparse.Namespace) -> list[str]:
    """Return the options of Snakemake that are given, or else those of the latest run."""
    given = [word for key in ("profile", "snakefile") if (word := getattr(arguments, key))]
    if given:
        profile = ["--profile", arguments.profile] if arguments.profile else []
        return profile + (["--snakefile", arguments.snakefile] if arguments.snakefile else [])
    try:
        options: list[str] | None = open_run(Path.cwd()).facts().get("options")
    except HarborError:
        options = None
    if options is not None:
        return options
    if os.environ.get("SNAKEMAKE_PROFILE"):
        return []
    raise HarborError(
        f"harbor does not know how the latest run in {Path.cwd()} was started.",
        f"harbor rerun {shlex.join(arguments.cases)} --profile profiles/local",
    )
