"""Check this machine and every node before a run, and show the next command to type where something is wrong."""

import argparse
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ..remote.open_files import raise_open_file_limit
from ..remote.survey import Answer, Questions
from ..store.workdir import typed_workdir
from .checks import controller
from .checks.finding import LEVELS, Finding
from .checks.node import Here, examine
from .node_options import add_arguments as add_arguments
from .node_options import chosen_config, read_profile, survey_nodes

STYLES = {"error": "bold red", "warning": "yellow", "ok": "green", "note": "cyan"}
PROGRAMS = ("conda", "mamba", "apptainer", "singularity")
"""Programs that rules may need. They are asked for only if this machine has them."""


def run(arguments: argparse.Namespace) -> int:
    config, workdir = chosen_config(arguments), Path(typed_workdir())
    profile = read_profile(arguments.profile) if arguments.profile is not None else None
    files = raise_open_file_limit(len(config.nodes), config.transport)
    here = list(controller.check(config, workdir, profile, files))
    programs = [path for name in PROGRAMS if (path := shutil.which(name))]
    questions = Questions(workdir.resolve(), (sys.executable, *programs))
    answers = survey_nodes(config, workdir, questions)
    here += controller.check_pool(answers, workdir)
    if not any(finding.level == "error" for finding in here):
        here.append(controller.summary(workdir))
    compare = Here.now(workdir, sys.executable, version("snakemake"))
    found = sorted(here, key=lambda finding: LEVELS.index(finding.level))
    found += [finding for answer in answers for finding in examine(answer, compare)]
    if arguments.json:
        print(json.dumps({"findings": [finding.as_dict() for finding in found]}))
    else:
        show(found, answers)
    return 1 if any(finding.level == "error" for finding in found) else 0


def show(found: Sequence[Finding], answers: Sequence[Answer]) -> None:
    """Print the findings, grouped by node, and a last line that counts the nodes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = console.width if console.is_terminal else 100_000
    for finding in found:
        name = finding.node or "this machine"
        first, *more = textwrap.wrap(
            f"{name}: {finding.text}", max(40, width - 9), break_long_words=False, break_on_hyphens=False
        )
        console.print(Text.assemble((f"{finding.level:8} ", STYLES[finding.level]), first), soft_wrap=True)
        for line in more:
            console.print(Text(f"{'':9}{line}"), soft_wrap=True)
        if finding.hint:
            console.print(Text(f"{'':11}Try: {finding.hint}"), soft_wrap=True)
    console.print(Text(counts(found, len(answers))), soft_wrap=True)


def counts(found: Sequence[Finding], nodes: int) -> str:
    """Return how many nodes can be used and how many have errors or warnings."""
    worst: dict[str, str] = {}
    for finding in found:
        if finding.node is not None:
            worst[finding.node] = min(worst.get(finding.node, "note"), finding.level, key=LEVELS.index)
    number = Counter(worst.values())
    usable = nodes - number["error"]
    warned = f", {number['warning']} of them with a warning" if number["warning"] else ""
    return f"{usable} of {nodes} nodes can be used{warned}"
