"""Reads the configuration; what the rules ask is answered here."""

import sys
from pathlib import Path

import yaml

from snakemake.exceptions import WorkflowError

HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
SCRIPTS = HERE / "scripts"
sys.path.insert(0, str(SCRIPTS))

import sweep_config

try:
    SWEEPS = sweep_config.load(
        config, yaml.safe_load((HERE / "schemas/config.schema.yaml").read_text())
    )
except sweep_config.SweepError as error:
    raise WorkflowError(f"configuration: {error}.") from None

STEP = str(SCRIPTS / "step.py")
COLLECT = str(SCRIPTS / "collect.py")
PLOT = str(SCRIPTS / "plot.py")
PYTHON = sys.executable


wildcard_constraints:
    case=r"[^/]+",


def all_results():
    """The table of every sweep, and its plot where one is configured."""
    tables = [f"results/{name}/results.csv" for name in SWEEPS]
    plots = [f"results/{name}/plot.svg" for name, sweep in SWEEPS.items() if sweep.plot]
    return tables + plots


def step_of(sweep, name):
    """A function of wildcards: what step.py is to do for the case."""
    cases = sweep.by_name()

    def spec(wildcards):
        return sweep_config.step(sweep, cases[wildcards.case], name)

    return spec


def script_of(processor):
    """The script that a pre- or post-processor is, as an input; none if it is a command line."""
    return [processor[0]] if processor and processor[0] else []


def marker(sweep, name):
    """The file that says that a step of a case is done."""
    return f"results/{sweep.name}/.steps/{name}/{{case}}"


def last_of(sweep):
    """What a case's last step makes: the result file, or the step's marker if there is no result."""
    last = "post" if sweep.post else "run"
    return marker(sweep, last)


def ends_of(sweep):
    """The last step of every case of a sweep."""
    return [last_of(sweep).format(case=case.name) for case in sweep.cases]
