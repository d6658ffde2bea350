"""Connect to each node and show its state, cores, load, memory and GPUs, and why it is not usable."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..remote.survey import Answer
from ..store.workdir import typed_workdir
from .node_options import add_arguments as add_arguments
from .node_options import chosen_config, survey_nodes
from .noted_table import NotedTable
from .status import first_line, memory


def run(arguments: argparse.Namespace) -> int:
    answers = survey_nodes(chosen_config(arguments), Path(typed_workdir()))
    if arguments.json:
        print(json.dumps({"nodes": [describe(answer) for answer in answers]}))
    else:
        from rich.console import Console

        Console().print(table(answers))
    return 0 if all(usable(answer) for answer in answers) else 1


def usable(answer: Answer) -> bool:
    """Return True if jobs can run on the node now."""
    return answer.facts is not None and (answer.facts.shared or staged(answer))


def staged(answer: Answer) -> bool:
    """Return True if the files of jobs would be sent to the node and fetched."""
    return answer.facts is not None and answer.spec.is_staged(answer.facts.shared)


def describe(answer: Answer) -> dict[str, Any]:
    """Return one node for --json. The keys are those of `harbor status --json`."""
    facts, load = answer.facts, answer.load
    shared = facts is None or facts.shared or staged(answer)
    return {
        "name": answer.spec.name,
        "state": "ready" if usable(answer) else "unusable",
        "cores": facts.cores if facts else None,
        "slots": answer.spec.slots or (facts.cores if facts else None),
        "busy": load.busy if load else None,
        "ours": load.ended + sum(load.ours.values()) if load else None,
        "mem_available_mb": load.mem_available_mb if load else None,
        "mem_mb": facts.mem_mb if facts else None,
        "gpus": list(facts.gpus) if facts else [],
        "users": list(load.users) if load else [],
        "running": len(load.ours) if load else 0,
        "python": facts.python if facts else None,
        "staged": staged(answer),
        "interpreter": facts.interpreter if facts else None,
        "snakemake": list(facts.snakemake) if facts and facts.snakemake else None,
        "reason": answer.reason if shared else "this working directory is missing there, or it is another directory",
    }


def table(answers: list[Answer]) -> Any:
    from rich.table import Table

    columns = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("node", "state"):
        columns.add_column(name)
    for name in ("slots", "cores", "busy", "mine", "others", "memory free", "GPUs"):
        columns.add_column(name, justify="right")
    shown = NotedTable(columns, "node")
    for answer in answers:
        node = describe(answer)
        busy, ours = node["busy"], node["ours"]
        numbers = ["-"] * 3 if busy is None else [f"{n:.1f}" for n in (busy, ours, max(0.0, busy - ours))]
        notes = ["files are sent" if node["staged"] else "", ", ".join(node["users"])]
        why = first_line(node) or "; ".join(filter(None, notes))
        cells = [node["slots"], node["cores"], *numbers, memory(node["mem_available_mb"]), len(node["gpus"]) or "-"]
        texts = ["-" if cell is None else str(cell) for cell in cells]
        shown.add_row(node["name"], node["state"], *texts, note=why, style="" if node["state"] == "ready" else "red")
    return shown
