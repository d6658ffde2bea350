"""The simulation of large pools ends with every job done, and shows the cost of an event."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "simulate.py"


@pytest.fixture(scope="module")
def simulate():
    spec = importlib.util.spec_from_file_location("simulate", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_job_is_done(simulate):
    found = simulate.simulate(nodes=256, jobs=2000, requests=50, sample_every=60.0)
    assert found["done"] == found["jobs"] == 2000 and not found["failed"]
    assert found["decisions_per_s"] > 0 and {"Exited", "LoadMeasured", "Tick"} <= set(found["events"])


def test_the_work_for_an_event_does_not_grow_with_the_pool(simulate):
    small, big = simulate.growth(20, sizes=(20, 200))
    assert big["waiting"] > 5 * small["waiting"]
    assert big["asked"] <= 2 * small["asked"] + 20


def test_nothing_but_the_core_is_imported():
    imported = [line.split()[1] for line in PATH.read_text().splitlines() if line.startswith("from snakemake")]
    assert imported and all(".core" in name for name in imported)
