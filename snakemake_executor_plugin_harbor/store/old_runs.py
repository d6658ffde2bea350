"""Removes the journals of old runs when a run starts."""

import shutil
import time
from pathlib import Path

from .run_directories import JOURNAL, run_names
from .run_list import read_summary

MAX_REMOVED = 100
"""So many are removed at one start, because a directory takes 0.2 ms."""
MAX_EXAMINED = 500
LIVE_S = 60.0
"""A controller writes its journal each second. One that was not written for so long has no controller."""


def remove_old_runs(runs: Path, keep: int, days: int, now: float | None = None) -> None:
    """Remove the runs that are not among the last `keep`, and those that started more than `days` ago.

    A run that goes on is kept. One that has left jobs behind is kept for `days`. Only the names of the other runs are
    read, so thousands of them cost a few milliseconds.
    """
    now = time.time() if now is None else now
    limit = time.strftime("%y%m%d-%H%M%S", time.localtime(now - days * 86400))
    names = run_names(runs)
    surplus = set(names[: max(0, len(names) - keep)])
    removed = 0
    for name in [name for name in names if name in surplus or name < limit][:MAX_EXAMINED]:
        if _may_go(runs / name, aged=name < limit, now=now):
            # Another start may remove it at the same time.
            shutil.rmtree(runs / name, ignore_errors=True)
            removed += 1
        if removed == MAX_REMOVED:
            return


def _may_go(directory: Path, aged: bool, now: float) -> bool:
    summary = read_summary(directory)
    if summary is not None:
        return not summary.is_running and (aged or not summary.is_unfinished)
    journals = (directory / name for name in (JOURNAL, f"{JOURNAL}-wal"))
    return all(now - journal.stat().st_mtime > LIVE_S for journal in journals if journal.exists())
