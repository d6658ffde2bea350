"""What a group has done that has failed: its program (`agent/group.py`) writes it in the last lines of its output."""

import re
from typing import Any

from ..core.model import Outcome
from ..snakemake_internals.group import units
from .in_flight import InFlightJob

LINE = re.compile(r"^harbor: \d+ of \d+ jobs of the group have succeeded: ([\d ]+)$", re.MULTILINE)


def done(entry: InFlightJob, outcome: Outcome) -> list[Any]:
    """Return the jobs of a failed group that had succeeded before. A Snakemake on the node does not tell them."""
    if not entry.job.is_group() or entry.command is not None or outcome.exit is None:
        return []
    found = LINE.findall(outcome.exit.get("tail") or "")
    if not found:
        return []
    jobs = [job for level in units(entry.job) for unit in level for job in unit]
    numbers = [int(text) for text in found[-1].split()]
    return [jobs[number] for number in numbers] if max(numbers) < len(jobs) else []
