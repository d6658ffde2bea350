"""Check this machine and every node before a run, and show the next command to type where something is wrong."""

import argparse
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..remote.open_files import raise_open_file_limit
from ..remote.survey import Answer, Questions
from ..store.workdir import typed_workdir
from .checks import controller
from .checks.finding import LEVELS, Finding
from .checks.node import Here, examine
from .node_options import add_arguments as add_arguments
from .node_options import chosen_config, read_profile, survey_nodes

STYLES = {"error": "bold red", "warning": "yellow", "ok": "green", "note": "cyan"}
NAME_MAX, LEVEL_COLUMN = 24, 9
"""The width of the columns that hold the node and the level."""
PRINT: Any = {"soft_wrap": True}
PROGRAMS = ("conda", "mamba", "apptainer", "singularity")
"""Programs that rules may need. They are asked for only if this machine has them."""


def run(arguments: argparse.Namespace) -> int:
    config, workdir = chosen_config(arguments), Path(typed_workdir())
    profile = read_profile(arguments.profile)[0] if arguments.profile is not None else None
    files = raise_open_file_limit(len(config.nodes), config.transport)
    here = list(controller.check(config, workdir, profile, files))
    programs = [path for name in PROGRAMS if (path := shutil.which(name))]
    questions = Questions(workdir.resolve(), (sys.executable, *programs))
    with _waiting():
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


def _waiting() -> AbstractContextManager[Any]:
    """Show on a screen that nodes are asked, because dead ones may take half a minute."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("asking the nodes")


def show(found: Sequence[Finding], answers: Sequence[Answer]) -> None:
    """Print the findings, grouped by node, and a last line that counts the nodes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    names = [finding.node or "this machine" for finding in found]
    column = min(NAME_MAX, max(map(len, names)))
    shown = ""
    for name, finding in zip(names, found, strict=True):
        # On a screen, each name is shown once, so that one sees where the next node begins. In a pipe, grep needs it.
        label, shown = ("" if name == shown and console.is_terminal else name), name
        before = f"{label:{column}}  "
        indent = " " * (column + 2 + LEVEL_COLUMN)
        first, *more = _wrap(finding.text, console.width - len(indent) if console.is_terminal else 100_000)
        console.print(Text.assemble(before, (f"{finding.level:{LEVEL_COLUMN}}", STYLES[finding.level]), first), **PRINT)
        for line in [*more, *([f"  Try: {finding.hint}"] if finding.hint else [])]:
            console.print(Text(indent + line), **PRINT)
    console.print(Text(counts(found, len(answers))), **PRINT)


def _wrap(text: str, width: int) -> list[str]:
    """Break a text between words. Paths stay whole, because people copy them."""
    return textwrap.wrap(text, max(40, width), break_long_words=False, break_on_hyphens=False)


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
