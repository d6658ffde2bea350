"""Read the configuration: SWEEPS are the sweeps after all checks, and SELECTED the cases of each that are to run."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import yaml

from snakemake.logging import logger

# The files that this workflow reads besides its rules: all but the scripts that only people start.
FILES = (
    "schemas/config.schema.yaml",
    "scripts/case_files.py",
    "scripts/case_state.py",
    "scripts/collect.py",
    "scripts/command_line.py",
    "scripts/csv_table.py",
    "scripts/expressions.py",
    "scripts/job_lines.py",
    "scripts/partial_table.py",
    "scripts/plot.py",
    "scripts/plot_columns.py",
    "scripts/plot_data.py",
    "scripts/plot_drawing.py",
    "scripts/processors.py",
    "scripts/src_stand_in.py",
    "scripts/step.py",
    "scripts/sweep_cases.py",
    "scripts/sweep_config.py",
    "scripts/sweep_directories.py",
    "scripts/sweep_file.py",
    "scripts/sweep_lines.py",
    "scripts/sweep_model.py",
    "scripts/sweep_plots.py",
    "scripts/sweep_resources.py",
    "scripts/sweep_schema.py",
    "scripts/sweep_selection.py",
    "scripts/sweep_specs.py",
    "scripts/sweep_template.py",
)


def directory_of_the_workflow():
    """Return a directory of this machine. If the workflow comes from GitHub, Snakemake fetches each file of FILES."""
    given = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
    if given.is_dir():
        return given
    fetched = [Path(workflow.source_path(f"../{name}")) for name in FILES]
    return fetched[0].parents[1]


HERE = directory_of_the_workflow()
SCRIPTS = HERE / "scripts"
sys.path.insert(0, str(SCRIPTS))

import case_files
import job_lines
import partial_table
import sweep_config
import sweep_directories
import sweep_file
import sweep_model
import sweep_resources
import sweep_schema
import sweep_selection
import sweep_specs
import sweep_template


def fail(message):
    """End with one sentence. Snakemake would show an exception with places in our files, which do not help users."""
    logger.error(f"configuration: {message.rstrip('; ')}")
    sys.exit(1)


def only():
    """Return which cases are to run.

    The typed text counts, because Snakemake removes quotes and leading zeros from it. Snakemakes that run single jobs
    do not get it: they do not need it, and Snakemake cannot pass on a text with both kinds of quotes.
    """
    if not hasattr(workflow, "harbor_only"):
        given = workflow.config_settings.config_args or []
        typed = [each for each in given if each.startswith("only=")]
        for each in typed:
            given.remove(each)
        workflow.harbor_only = typed[-1].removeprefix("only=") if typed else None
    return config.get("only") if workflow.harbor_only is None else workflow.harbor_only


try:
    for FILE in workflow.configfiles:
        for NOTE in sweep_schema.check_file(FILE):
            logger.warning(f"configuration: {NOTE}")
    SWEEPS = sweep_config.load(
        sweep_file.with_sweeps(config),
        yaml.safe_load((HERE / "schemas/config.schema.yaml").read_text()),
        ask=workflow.is_main_process,
    )
    SELECTED = sweep_selection.select(only(), SWEEPS)
except sweep_config.SweepError as error:
    fail(str(error))

if "sweep_file" in config:
    if workflow.is_main_process:
        # The executor is not known yet.
        logger.info(
            f"The sweep is that of {config['sweep_file']}."
            " The hosts in this file mean nothing to another executor than harbor."
        )
    # harbor's executor takes the hosts from this file.
    workflow.harbor_sweep_file = str(config["sweep_file"])

if workflow.is_main_process:
    # This is the key of a class PostProcessor. A job inherits it.
    os.environ.update(HARBOR_SWEEP_KEY=time.strftime("%Y%m%d_%H%M"))

for SWEEP in SWEEPS.values():
    for WARNING in sweep_config.warnings(SWEEP):
        logger.warning(f"configuration: {WARNING}")


logger.addFilter(job_lines.ShortLists(f"{name}_collect" for name in SWEEPS))


PYTHON = sys.executable
CAN_PLOT = importlib.util.find_spec("matplotlib") is not None

if not CAN_PLOT and any(sweep.plots for sweep in SWEEPS.values()):
    logger.warning(
        f"No plots will be made: {PYTHON} has no matplotlib. Everything else is done without it.\n"
        f"  Try: {PYTHON} -m pip install matplotlib"
    )
