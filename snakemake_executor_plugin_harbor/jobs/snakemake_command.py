"""The command of a Snakemake that runs a job on a node, for jobs that cannot be dispatched directly.

Snakemake's own executors make the command line. This module adds what their form of it would lose.
"""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_executor_plugins.utils import format_cli_arg, join_cli_args

from ..snakemake_internals import job as internals
from ..snakemake_internals import rule_resources, settings, source_cache, workflow_sources
from . import environment
from .command import Command


def command(executor: Any, job: Any) -> Command:
    """The command, as the remote executors of Snakemake start it."""
    workflow = executor.workflow
    for member in job.jobs if job.is_group() else (job,):
        source_cache.cache_script(member)
    # A node's Snakemake need not have our scheduler plugin, and one job needs no scheduling.
    line = re.sub(r"--scheduler harbor\b", "--scheduler greedy", executor.format_job_exec(job))
    # It computes the threads again. Here they have been reduced to the largest node.
    line += f" --max-threads {max(1, int(job.threads))}"
    env = environment.of_spawned_snakemake(executor)
    # It reads the Snakefile again, and with it `workdir:`. So it starts in the directory in which this Snakemake was
    # when it read the Snakefile.
    return Command((line,), "/bin/bash", str(workflow.workdir_init), env, (), needs(workflow))


def python_executable(workflow: Any) -> str:
    """The Python that has Snakemake, as a word for the shell. If software is not shared, the node's own comes first."""
    if SharedFSUsage.SOFTWARE_DEPLOYMENT in workflow.storage_settings.shared_fs_usage:
        return shlex.quote(sys.executable)
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('snakemake') is None)"
    return f'"$(python3 -c "{probe}" 2>/dev/null && echo python3 || echo {shlex.quote(sys.executable)})"'


def files_to_wait_for(workflow: Any, job: Any) -> list[str]:
    """The files that must be visible on the node before the job begins."""
    return internals.awaited_files(workflow, job)


def cores(workflow: Any, job: Any) -> int:
    """The value of `--cores`: the limit of the workflow if there is one, else the cores that the job holds.

    It is not "all". A node may have fewer cores than the slots that its owner gave it, and more than the job's share.
    """
    limit = rule_resources.core_limit(workflow, job)
    return max(1, int(job.threads)) if limit is None else limit


def default_resources(workflow: Any, job: Any) -> str:
    """`--default-resources` for a job. It is empty where the job would get resources that it does not have locally.

    With any value of the option, Snakemake adds its built-in defaults, such as 1,000 MB of memory. If the user did not
    give the option, only `run:` jobs have these locally, because the local executor starts a Snakemake for them too.
    """
    if not rule_resources.are_defaults_given(workflow) and not internals.is_python_code(job):
        return ""
    options = rule_resources.default_options(workflow)
    return str(format_cli_arg("--default-resources", options, base64_encode=True))


def needs(workflow: Any) -> tuple[str, ...]:
    """The paths that the node must have: the interpreter, and the Snakefile, which is read there again."""
    shared = SharedFSUsage.SOFTWARE_DEPLOYMENT in workflow.storage_settings.shared_fs_usage
    paths = [sys.executable] if shared else []
    return tuple(path for path in (*paths, workflow_sources.main_snakefile(workflow)) if os.path.isabs(path))


def given_config_files(workflow: Any) -> list[str]:
    """The files that the user gave with --configfiles."""
    return [str(Path(os.path.expandvars(path)).expanduser()) for path in settings.config_files(workflow)]


def general_arguments(workflow: Any) -> str:
    """Options that come after Snakemake's own and override them."""
    usage = workflow.storage_settings.shared_fs_usage
    # We look for the local copies in the shared directory after the job, whether or not harbor's Snakemake made them.
    keep = SharedFSUsage.INPUT_OUTPUT in usage and SharedFSUsage.STORAGE_LOCAL_COPIES not in usage
    return str(
        join_cli_args(
            [
                format_cli_arg("--keep-storage-local-copies", keep),
                # `workdir:` of the Snakefile must not override our --directory, and a relative --directory would be
                # resolved from inside itself.
                format_cli_arg("--directory", settings.directory_option(workflow)),
                format_cli_arg("--configfiles", given_config_files(workflow)),
                format_cli_arg("--set-resources", rule_resources.overwritten_options(workflow), base64_encode=True),
            ]
        )
    )
