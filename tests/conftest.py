"""Settings for all tests."""

import os
import sys
from collections import defaultdict
from itertools import islice
from pathlib import Path

import pytest

# Tests start hundreds of processes, most of which import harbor, and each worker of pytest imports all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SLOW = {"clusters", "faults", "lab", "snakemake", "test_examples", "test_imported", "test_rules", "test_sweep"}
"""Folders and modules whose tests take seconds."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests so that the slow ones begin.

    Each worker of pytest-xdist gets an equal part of the list. A worker that has finished its part takes tests from the
    ends of other parts. So each part begins with some of the slow modules.
    """
    modules: dict[Path, list[pytest.Item]] = defaultdict(list)
    quick: list[pytest.Item] = []
    for item in items:
        path = Path(item.nodeid.split("::")[0])
        (modules[path] if SLOW & {*path.parts, path.stem} else quick).append(item)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    dealt = list(modules.values())
    rest, total = iter(quick), len(items)
    items.clear()
    for worker in range(workers):
        mine = [item for module in dealt[worker::workers] for item in module]
        items += [*mine, *islice(rest, max(0, total * (worker + 1) // workers - len(items) - len(mine)))]
    items += rest
