"""Has our sweep workflow make the tables of sweeps that are not complete, when a run has ended.

The workflow has handlers for the end of a run, but they do not run if another workflow uses it as a module. And only
the journal knows why a job was ended, or that its node was lost.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import HarborError
from ..snakemake_internals.settings import sweeps_ended
from ..store.journal_reader import failed_cases, open_run


def make_sweep_tables(workflow: Any, workdir: Path, all_ended: bool, warn: Callable[[str], object]) -> None:
    """Make the tables. `all_ended`: no job runs any more. Nothing here is a reason for an error at the end of a run."""
    ended = sweeps_ended(workflow)
    if ended is None:
        return
    try:
        told = failed_cases(open_run(workdir))
    except HarborError as error:
        told = []
        warn(f"harbor: the reasons of failed cases may be missing: {error}")
    try:
        ended(told, all_ended)
    except Exception as error:
        warn(f"harbor: the tables of the sweeps cannot be made: {type(error).__name__}: {error}")
