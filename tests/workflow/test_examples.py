"""The examples with real simulators give what theory says, and show the progress that the simulators print."""

import csv
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
# Other tests keep this machine busy, so its load must not hold jobs back.
OPTIONS = ("--profile", str(ROOT / "profiles/local"), "--harbor-max-load", "50", "--harbor-nice", "0")
OPTIONS = (*OPTIONS, "-s", str(ROOT / "workflow/Snakefile"))


def needs(program, package):
    reason = f"{program} is not installed: apt-get install --no-install-recommends {package}"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


@pytest.fixture
def example(tmp_path):
    """Return a function that starts an example in a copy of its own."""
    works = []

    def start(name):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
        works.append(Workdir(tmp_path / name, ""))
        return works[0], works[0].start(*OPTIONS)

    yield start
    for work in works:
        work.close()


def table(work, sweep):
    """Return the rows of a finished sweep, as numbers."""
    here = work.directory / "results" / sweep
    assert "<svg" in (here / "plot.svg").read_text()
    with (here / "results.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    return [{key: float(value) for key, value in row.items() if key != "case"} for row in rows]


def progress(work, rule):
    """Return (state, done, total) of each job of a rule, or of a group with it, that has shown progress."""
    answer = work.harbor("status", "--json").stdout or "{}"
    jobs = [job for job in json.loads(answer).get("jobs", []) if rule in job["rule"].split("+") and job["progress"]]
    return [(job["state"], job["progress"]["done"], job["progress"]["total"]) for job in jobs]


@needs("ngspice", "ngspice")
def test_a_filter_has_the_quality_of_its_parts(example):
    work, run = example("ngspice")
    run.wait(100)
    run.expect(0)
    rows = table(work, "filter")
    assert len(rows) == 12
    for row in rows:
        resistance, inductance, capacitance = row["resistance_ohm"], 1e-3, row["capacitance_nF"] * 1e-9
        centre = 1 / (2 * math.pi * math.sqrt(inductance * capacitance))
        assert row["center_Hz"] == pytest.approx(centre, rel=1e-4)
        assert row["bandwidth_Hz"] == pytest.approx(resistance / (2 * math.pi * inductance), rel=1e-3)
        assert row["quality"] == pytest.approx(math.sqrt(inductance / capacitance) / resistance, rel=1e-3)
        assert row["center_min_Hz"] == pytest.approx(centre / math.sqrt(1.1 * 1.05), rel=1e-4)
        assert row["center_max_Hz"] == pytest.approx(centre / math.sqrt(0.9 * 0.95), rel=1e-4)
    assert progress(work, "filter_run") == [("succeeded", 9, 9)] * 12


def mayer(r, temperature):
    """Return exp(-u / T) - 1 for the example's pair potential: Lennard-Jones, cut off at 3 and shifted to 0 there."""
    if r >= 3:
        return 0.0
    energy = 4 * (r**-12 - r**-6) - 4 * (3**-12 - 3**-6)
    return math.exp(-energy / temperature) - 1


def virial_coefficients(temperature, steps=150):
    """Return the second and the third virial coefficient, by integration over one and over two distances."""
    h = 3 / steps
    middles = [(i + 0.5) * h for i in range(2 * steps)]
    second = -2 * math.pi * sum(mayer(r, temperature) * r * r * h for r in middles)
    weights = [r * mayer(r, temperature) * h for r in middles]
    # The third side of a triangle lies between the difference and the sum of the two others.
    below = [0.0]
    for weight in weights:
        below.append(below[-1] + weight)
    near = range(steps)
    pairs = (weights[i] * weights[j] * (below[i + j + 1] - below[abs(i - j)]) for i in near for j in near)
    return second, -8 * math.pi**2 / 3 * sum(pairs)


@needs("lmp", "lammps")
def test_a_gas_has_the_virial_coefficients_of_its_atoms(example):
    work, run = example("lammps")
    seen = []

    def look():
        seen.extend(p for p in progress(work, "gas_run") if p[0] == "running" and 0 < p[1] < p[2])
        return seen or run.code is not None

    wait_until(look, 60, "progress of a running case")
    run.wait(100)
    run.expect(0)
    assert seen
    rows = table(work, "gas")
    assert len(rows) == 15
    errors, ideal = [], []
    for row in rows:
        second, third = virial_coefficients(row["temperature"])
        expected = 1 + second * row["density"] + third * row["density"] ** 2
        assert row["compressibility"] == pytest.approx(expected, abs=0.02), row
        errors.append(row["compressibility"] - expected)
        ideal.append(expected - 1)
    # Eight other seeds gave 0.003, with 0.010 as the worst of their 120 cases.
    assert math.hypot(*errors) / math.sqrt(len(rows)) < 0.006 < 0.06 < math.hypot(*ideal) / math.sqrt(len(rows))
    dense = [row["compressibility"] for row in rows if row["density"] == 0.1]
    assert all(colder < hotter for colder, hotter in pairwise(dense))
    assert progress(work, "gas_run") == [("succeeded", 10000, 10000)] * 15
