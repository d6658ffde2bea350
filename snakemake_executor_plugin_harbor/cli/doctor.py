"""Check every node before a run, and show the next command to type where something is wrong."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from ..remote.survey import Answer
from .node_options import add_arguments as add_arguments
from .node_options import survey_nodes

SKEW_S = 5.0
LOW_MB = 1024


@dataclass(frozen=True)
class Finding:
    """The result of one check of one node. `level` is ok, warning or error."""

    node: str
    level: str
    text: str


def run(arguments: argparse.Namespace) -> int:
    found = [finding for answer in survey_nodes(arguments) for finding in examine(answer)]
    if arguments.json:
        print(json.dumps({"findings": [finding.__dict__ for finding in found]}))
    else:
        for finding in found:
            first, *more = finding.text.splitlines()
            print(f"{finding.level:8} {finding.node}: {first}")
            for line in more:
                print(f"{'':8} {line}")
    return 1 if any(finding.level == "error" for finding in found) else 0


def examine(answer: Answer) -> list[Finding]:
    """Return the findings about a node, the worst first."""
    name, facts, load = answer.spec.name, answer.facts, answer.load
    if facts is None:
        return [Finding(name, "error", answer.reason)]
    findings = []
    if not facts.shared:
        here = Path.cwd()
        text = (
            f"the working directory {here} is missing there, or it is another directory.\n"
            f"  Try: mount it at the same path on {name}"
        )
        findings.append(Finding(name, "error", text))
    if answer.skew is not None and abs(answer.skew) > SKEW_S:
        text = f"its clock is off by {answer.skew:+.0f} s, so the times in its logs are wrong."
        text += f"\n  Try: ssh {name} timedatectl status"
        findings.append(Finding(name, "warning", text))
    if load is not None and load.disk_free_mb is not None and load.disk_free_mb < LOW_MB:
        findings.append(Finding(name, "warning", f"only {load.disk_free_mb} MiB are free in scratch {facts.scratch}"))
    findings += [Finding(name, "warning", warning) for warning in facts.warnings]
    if not findings:
        took = f" in {answer.took:.1f} s" if answer.took else ""
        busy = f", {load.busy:.1f} busy" if load else ""
        text = f"answers{took}: Python {facts.python}, {facts.cores} cores{busy}, scratch {facts.scratch}"
        findings.append(Finding(name, "ok", text))
    return findings
