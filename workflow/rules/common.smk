"""Reads the configuration; what the rules ask is answered here.

What comes from the user goes through functions: Snakemake would take braces in a plain string for wildcards.
"""

import functools
import importlib.util
import os
import sys
from pathlib import Path

import yaml

from snakemake.logging import logger

HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
SCRIPTS = HERE / "scripts"
sys.path.insert(0, str(SCRIPTS))

import sweep_config
import sweep_schema
import sweep_template


def fail(message):
    """End with one sentence: Snakemake would show an exception with places in our files, which say nothing to users."""
    logger.error(f"configuration: {message.rstrip('; ')}")
    sys.exit(1)


try:
    for FILE in workflow.configfiles:
        for NOTE in sweep_schema.check_file(FILE):
            logger.warning(f"configuration: {NOTE}")
    SWEEPS = sweep_config.load(
        config, yaml.safe_load((HERE / "schemas/config.schema.yaml").read_text())
    )
except sweep_config.SweepError as error:
    fail(str(error))

for SWEEP in SWEEPS.values():
    for DOUBT in sweep_config.doubts(SWEEP):
        logger.warning(f"configuration: {DOUBT}")


def in_project(name):
    """A copy of one of our scripts: nodes may not see where the workflow is installed, and when that place moves or is
    updated, no path and no time of an input changes. A rule that made the copy could hide other reasons to run again.
    """
    source, copy = SCRIPTS / name, Path(".snakemake/sweep") / name
    if not copy.exists() or copy.read_bytes() != source.read_bytes():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f"{name}.{os.getpid()}")
        part.write_bytes(source.read_bytes())
        part.replace(copy)
    return str(copy)


def in_project_with(name, *modules):
    """One of our scripts and the modules of ours that it imports, in this order."""
    return [in_project(each) for each in (name, *modules)]


PYTHON = sys.executable
CAN_PLOT = importlib.util.find_spec("matplotlib") is not None

if not CAN_PLOT and any(sweep.plot for sweep in SWEEPS.values()):
    logger.warning(
        f"No plots will be made: {PYTHON} has no matplotlib. Everything else is done without it.\n"
        f"  Try: {PYTHON} -m pip install matplotlib"
    )


wildcard_constraints:
    case=r"[^/]+",


def all_results():
    """The table of every sweep, and its plot where one is configured and can be drawn."""
    tables = [f"results/{name}/results.csv" for name in SWEEPS]
    plots = [f"results/{name}/plot.svg" for name, sweep in SWEEPS.items() if sweep.plot]
    return tables + (plots if CAN_PLOT else [])


def always(value):
    """A function of wildcards that gives one value, braces and all."""

    def given(wildcards):
        return value

    return given


def template_of(sweep):
    """The files of the template, whose contents count."""
    return always(sweep_template.template_files(sweep.template))


def template_path_of(sweep):
    return always(sweep.template)


def script_of(processor):
    """The script that a pre- or post-processor is, as an input; none if it is a command line."""
    return always([processor[0]] if processor and processor[0] else [])


def resources_of(sweep):
    return {key: always(value) for key, value in sweep.resources.items()}


def step_of(sweep, name):
    """A function of wildcards: what step.py is to do for the case."""
    cases = sweep.by_name()

    def spec(wildcards):
        if wildcards.case not in cases:
            hint = sweep_schema.guess(wildcards.case, list(cases))
            fail(f"sweeps.{sweep.name}: there is no case {wildcards.case!r}; {hint}")
        return sweep_config.step(sweep, cases[wildcards.case], name)

    return spec


def table_of(sweep):
    """The file that holds what collect.py is to do. It is written when it is asked for."""

    @functools.cache
    def file():
        return sweep_config.table_file(sweep, Path(".snakemake/sweep/tables"))

    def given(wildcards):
        return file()

    return given


def left_over():
    """A line for each sweep that has cases of earlier configurations in its results."""
    for name, sweep in SWEEPS.items():
        found = sweep_config.left_over(sweep)
        if found:
            shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            yield f"results/{name}/cases still holds {len(found)} cases that the configuration no longer has: {shown}"


def axes_of(sweep):
    return always([sweep.plot[key] for key in ("x", "y", "color") if key in sweep.plot])


def case_directory(sweep):
    return f"results/{sweep.name}/cases/{{case}}"


def marker(sweep, name):
    """The file that says that a step of a case is done."""
    return f"results/{sweep.name}/.steps/{name}/{{case}}"


def ends_of(sweep):
    """What the last step of every case leaves."""
    ends = (
        [marker(sweep, "post")]
        if sweep.post
        else [marker(sweep, "run"), case_directory(sweep)]
    )
    return [end.format(case=case.name) for case in sweep.cases for end in ends]
