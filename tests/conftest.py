"""Settings for all tests."""

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.store.run_directories import SUMMARY, run_names, runs_directory

# Tests start hundreds of processes, most of which import harbor, and each worker of pytest imports all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

PLACE = pytest.StashKey[Path]()
"""The directory that contains those of the tests."""
OTHERS: set[str] = set()
"""Runs that do not belong to these tests."""
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


@pytest.fixture(scope="session", autouse=True)
def _place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Note the place of the tests. What tests have left that could not end is removed."""
    here = request.config.stash[PLACE] = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0":
        root = next((path for path in here.parents if path.name.startswith("pytest-of-")), here)
        remove_runs(lambda workdir: workdir.is_relative_to(root) and not workdir.exists())
        OTHERS.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Remove the journals of a test's runs. Each start of a run examines those of the user's old runs."""
    yield
    if here := item.config.stash.get(PLACE, None):  # No fixture has run yet if the first test is skipped.
        remove_runs(lambda workdir: workdir.is_relative_to(here))


def remove_runs(ours: Callable[[Path], bool]) -> None:
    runs = runs_directory()
    for name in run_names(runs):
        if name not in OTHERS:
            try:
                workdir = Path(json.loads((runs / name / SUMMARY).read_bytes())["workdir"])
            except (OSError, ValueError, KeyError):
                continue  # It has just begun, or another worker removes it.
            if ours(workdir):
                shutil.rmtree(runs / name, ignore_errors=True)
            else:
                OTHERS.add(name)
