"""Show what runs have left here and on the nodes, and remove what no run needs any more, after a question.

Here these are the journals and the logs of jobs, on the nodes the records and outputs of attempts. What a run needs
that goes on, or that is not complete, stays.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..remote.survey import Cleaning
from ..store.leftovers import Leftovers, remove_leftovers
from ..store.workdir import typed_workdir
from ..views import clean as view
from .columns import columns
from .node_options import add_arguments as add_node_options
from .node_options import chosen_config, survey_nodes

Rows = list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_options(parser)
    parser.add_argument("--here", action="store_true", help="only this machine; the nodes are not asked")
    parser.add_argument(
        "--all", action="store_true", help="the leftovers of all your directories, not only of this one"
    )
    parser.add_argument("--yes", action="store_true", help="remove without a question")


def run(arguments: argparse.Namespace) -> int:
    workdir = Path(typed_workdir())
    found = Leftovers(workdir, arguments.all)
    rows = view.here(found) + _on_nodes(arguments, workdir, found)
    free = [row for row in rows if not row["kept"]]
    if not arguments.json:
        _show(rows)
    removed = bool(free) and (arguments.yes or (not arguments.json and _agreed(free)))
    if removed:
        remove_leftovers(workdir, arguments.all, partial(_remove_records, arguments, workdir, free))
    if arguments.json:
        print(json.dumps({"removed": removed, "leftovers": rows}))
    elif removed:
        print(f"removed {_size(free)}")
    elif free and not sys.stdin.isatty():
        print("Nothing was removed. Try: harbor clean --yes")
    return 0


def _on_nodes(arguments: argparse.Namespace, workdir: Path, found: Leftovers) -> Rows:
    """Return the rows of the nodes. A machine that is two nodes with the same scratch directory is listed once."""
    if arguments.here:
        return []
    try:
        config = chosen_config(arguments)
    except HarborError as error:
        if any(getattr(arguments, key) for key in ("profile", "hosts", "hostfile")):
            raise
        # A directory without a run has nothing on nodes. After `clean`, the nodes of the last run are not known.
        return [view.not_asked("the nodes", f"{error.message} --hosts names them")] if found.id is not None else []
    rows: Rows = []
    seen = set()
    for answer in survey_nodes(config, workdir, Cleaning()):
        if answer.facts is None or answer.stored is None:
            rows.append(view.not_asked(answer.spec.name, answer.reason))
        elif (place := (answer.facts.boot_id, answer.facts.scratch)) not in seen:
            seen.add(place)
            rows += view.on_node(answer.spec.name, answer.stored, found, arguments.all)
    return rows


def _remove_records(arguments: argparse.Namespace, workdir: Path, free: Rows) -> None:
    owners = tuple({row["owner"] for row in free if "owner" in row})
    if owners:
        survey_nodes(chosen_config(arguments), workdir, Cleaning(owners))


def _agreed(free: Rows) -> bool:
    if not sys.stdin.isatty():
        return False
    return input(f"Remove {_size(free)}? [y/N] ").strip().lower() in ("y", "yes")


def _show(rows: Rows) -> None:
    if not rows:
        print("nothing is left here")
        return
    names = ("place", "what", "number", "size", "where", "stays because")
    cells = [[row["place"], row["what"], str(row["number"]), _size([row]), row["where"], row["kept"]] for row in rows]
    for line in columns(names, cells, ("number", "size")):
        print(line)


def _size(rows: Rows) -> str:
    """Format the bytes of all rows with one decimal, such as 3.5 MiB."""
    size, unit = float(sum(row["bytes"] for row in rows)), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
