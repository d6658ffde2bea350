"""Shorten the lines of Snakemake's log about jobs that read a file of every case.

Snakemake would print the paths of all cases in the lines `input:` and `reason:`, twice for each table.
"""

import logging
import re
from collections.abc import Iterable

SHOWN = 3
FILES = re.compile(r"(files(?: updated by another job)?: )([^;]*)")


class ShortLists(logging.Filter):
    """A filter of Snakemake's logger. It shortens the lists of files of the given rules, and drops no line."""

    def __init__(self, rules: Iterable[str]) -> None:
        super().__init__()
        self._rules = tuple(rules)

    def filter(self, record: logging.LogRecord) -> bool:
        # As a module, the workflow may have a prefix before the names of its rules.
        if str(getattr(record, "rule_name", "")).endswith(self._rules):
            for name in ("input", "reason"):
                value = getattr(record, name, None)
                if isinstance(value, list):
                    setattr(record, name, shortened(value))
                elif isinstance(value, str):
                    setattr(record, name, FILES.sub(_shortened_text, value))
        return True


def shortened(files: list[str]) -> list[str]:
    """Return the first files, and how many follow."""
    more = len(files) - SHOWN
    return [*files[:SHOWN], f"... ({more} more)"] if more > 1 else files


def _shortened_text(found: re.Match[str]) -> str:
    return found[1] + ", ".join(shortened(found[2].split(", ")))
