"""Show what runs have left here and on the nodes, and remove what no run needs any more, after a question.

Here these are the journals and the logs of jobs, on the nodes the records and outputs of attempts. What a run needs
that goes on, or that is not complete, stays. --cases is about the results of cases that left their sweeps.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ..config.pool_config import PoolConfig
from ..errors import HarborError
from ..remote.survey import Cleaning
from ..store.leftovers import Leftovers, remove_leftovers
from ..store.workdir import typed_workdir
from ..views import clean as view
from .clean_cases import clean_cases
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
    parser.add_argument(
        "--cases", action="store_true", help="instead of all that, the cases that the configuration no longer has"
    )
    parser.add_argument("--yes", action="store_true", help="remove without a question")


def run(arguments: argparse.Namespace) -> int:
    if arguments.cases:
        return clean_cases(arguments.yes, arguments.json)
    workdir = Path(typed_workdir())
    found = Leftovers(workdir, arguments.all)
    config, unknown = _config(arguments, found)
    rows = [*view.here(found), *unknown, *_on_nodes(config, workdir, found, arguments.all)]
    free = [row for row in rows if not row["kept"]]
    if not arguments.json:
        _show(rows)
    removed = bool(free) and (arguments.yes or (not arguments.json and _agreed(free)))
    if removed:
        remove_leftovers(workdir, arguments.all, partial(_remove_records, config, workdir, free))
    if arguments.json:
        print(json.dumps({"removed": removed, "leftovers": rows}))
    elif removed:
        print(f"removed {_size(free)}")
    elif free and not sys.stdin.isatty():
        print("Nothing was removed. Try: harbor clean --yes")
    return 0


def _config(arguments: argparse.Namespace, found: Leftovers) -> tuple[PoolConfig | None, Rows]:
    """Return how the nodes are reached, or None and a row that says why this is not known."""
    if arguments.here:
        return None, []
    try:
        return chosen_config(arguments), []
    except HarborError as error:
        if any(getattr(arguments, key) for key in ("profile", "hosts", "hostfile")):
            raise
        # A directory without a run has nothing on nodes. After `clean`, the nodes of the last run are not known.
        why = f"{error.message} --hosts names them"
        return None, [view.not_asked("the nodes", why)] if found.id is not None else []


def _on_nodes(config: PoolConfig | None, workdir: Path, found: Leftovers, everywhere: bool) -> Rows:
    """Return the rows of the nodes. A machine that is two nodes with the same scratch directory is listed once."""
    rows: Rows = []
    seen = set()
    for answer in survey_nodes(config, workdir, Cleaning()) if config is not None else []:
        if answer.facts is None or answer.stored is None:
            rows.append(view.not_asked(answer.spec.name, answer.reason))
        elif (place := (answer.facts.boot_id, answer.facts.scratch)) not in seen:
            seen.add(place)
            rows += view.on_node(answer.spec.name, answer.stored, found, everywhere)
    return rows


def _remove_records(config: PoolConfig | None, workdir: Path, free: Rows, found: Leftovers) -> None:
    """Remove the records in these rows. `found` is of this moment: a run may have come and gone before the answer."""
    owners = {row["owner"] for row in free if "owner" in row} - ({found.id} if found.needed else set())
    if owners and config is not None:
        survey_nodes(config, workdir, Cleaning(tuple(owners)))


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
