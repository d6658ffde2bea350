"""Reads settings of the command line and the Snakefile that the plugin interfaces do not promise."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any


def latency_wait(workflow: Any) -> float:
    """Seconds that outputs may take to become visible (--latency-wait)."""
    return float(workflow.execution_settings.latency_wait)


def removes_scripts(workflow: Any) -> bool:
    """Return True if the files that Snakemake makes for `script:` are removed. --skip-script-cleanup keeps them."""
    return bool(workflow.execution_settings.cleanup_scripts)


def keeps_incomplete(workflow: Any) -> bool:
    """Return True if the outputs of failed jobs are kept (--keep-incomplete)."""
    return bool(workflow.execution_settings.keep_incomplete)


def environment_variables(workflow: Any) -> dict[str, str]:
    """The values of the variables that the workflow's `envvars:` and the option --envvars name."""
    names: Iterable[str] = {*workflow.envvars, *workflow.remote_execution_settings.envvars}
    return {name: os.environ[name] for name in names if name in os.environ}


def submits_immediately(workflow: Any) -> bool:
    """Return True if Snakemake hands over jobs whose inputs do not exist yet (--immediate-submit)."""
    return bool(workflow.remote_execution_settings.immediate_submit)


def directory_option(workflow: Any) -> str | None:
    """The working directory, if the user gave --directory."""
    return os.getcwd() if workflow.overwrite_workdir is not None else None


def typed_options(workflow: Any) -> list[str]:
    """The options that the user typed, without the targets."""
    targets = workflow.dag_settings.targets
    return [word for word in sys.argv[1:] if word not in targets]


def config_files(workflow: Any) -> list[str]:
    """The paths that the user gave with --configfiles."""
    return [str(path) for path in workflow.overwrite_configfiles]


def sweeps_ended(workflow: Any) -> Callable[[list[dict[str, Any]], bool], None] | None:
    """What makes the tables of our own workflow's sweeps at the end of a run. `workflow/Snakefile` sets it.

    It takes the failed cases that the journal knows, and whether no case runs any more. `None`: there are no sweeps.
    """
    return getattr(workflow, "harbor_sweeps_ended", None)


def sweep_file(workflow: Any) -> str | None:
    """The configuration of Parallel-Task-Harbor that our workflow reads. `workflow/rules/configuration.smk` sets it.

    The workflow's `config` is not asked, because in another workflow the key `sweep_file` may mean something else.
    """
    return getattr(workflow, "harbor_sweep_file", None)
