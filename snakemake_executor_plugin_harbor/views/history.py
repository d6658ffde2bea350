"""The objects of `harbor history --json`: one per run."""

from collections.abc import Iterable
from typing import Any

from ..store.run_list import RunSummary


def history(runs: Iterable[RunSummary]) -> list[dict[str, Any]]:
    """Return one object per run, in the order of the runs."""
    return [_run(run) for run in runs]


def _run(run: RunSummary) -> dict[str, Any]:
    known = sum(run.counts.values())
    return {
        "run": run.run,
        "state": run.state,
        # Jobs after a checkpoint are not in the total that was known at the start.
        "jobs": max(run.total or 0, known),
        "succeeded": run.counts.get("succeeded", 0),
        "failed": run.counts.get("failed", 0),
        "counts": dict(run.counts),
        "started": run.started,
        "ended": run.ended,
        "directory": run.workdir,
    }
