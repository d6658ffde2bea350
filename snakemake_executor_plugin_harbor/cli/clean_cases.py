"""`harbor clean --cases`: show what is left of cases that the configuration no longer has, and remove it when asked."""

import json
import sys
from pathlib import Path

from ..store.former_cases import FormerCase, former_cases, remove_former_cases
from .columns import columns


def clean_cases(yes: bool, as_json: bool) -> int:
    """Show the former cases of the current directory. Remove them with `yes`, or if the user at the terminal agrees."""
    found = former_cases(Path.cwd())
    if not as_json:
        _show(found)
    removed = bool(found) and (yes or (not as_json and _agreed(found)))
    if removed:
        remove_former_cases(Path.cwd(), found)
    if as_json:
        cases = [{"sweep": each.sweep, "case": each.case, "bytes": each.bytes} for each in found]
        print(json.dumps({"removed": removed, "cases": cases}))
    elif removed:
        print(f"removed {len(found)} cases")
    elif found:
        print("Nothing was removed. Try: harbor clean --cases --yes")
    return 0


def _show(found: list[FormerCase]) -> None:
    if not found:
        print("no case has left its sweep since Snakemake read the configuration last")
        return
    cells = [[each.sweep, each.case, _megabytes(each.bytes), each.elsewhere] for each in found]
    for line in columns(("sweep", "case", "size", "stays"), cells, ("size",)):
        print(line)


def _agreed(found: list[FormerCase]) -> bool:
    if not sys.stdin.isatty():
        return False
    size = _megabytes(sum(each.bytes for each in found))
    return input(f"Remove {len(found)} cases, {size}? [y/N] ").strip().lower() in ("y", "yes")


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
