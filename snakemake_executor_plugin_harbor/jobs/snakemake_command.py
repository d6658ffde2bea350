"""Snakemake on a node: what its command line has to say beside what Snakemake's own executors put there."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage
from snakemake_interface_executor_plugins.utils import format_cli_arg, join_cli_args

from .command import Command
from .spec import option_text


def command(executor: Any, job: Any) -> Command:
    """Snakemake itself on the node, as the remote executors start it; for what a capture cannot cover."""
    workflow = executor.workflow
    for member in job.jobs if job.is_group() else (job,):
        executor.session.sources.cache_script(member)
    # A node's Snakemake need not have our scheduler plugin, and one job needs no scheduling.
    command = re.sub(r"--scheduler harbor\b", "--scheduler greedy", executor.format_job_exec(job))
    # It works out the threads again; they have been cut down to the largest node here.
    command += f" --max-threads {max(1, int(job.threads))}"
    env: dict[str, str | None] = dict(executor.envvars())
    if workflow.workflow_settings.cache is not None and "SNAKEMAKE_OUTPUT_CACHE" in os.environ:
        env["SNAKEMAKE_OUTPUT_CACHE"] = os.environ["SNAKEMAKE_OUTPUT_CACHE"]
    # A profile of the controller would be applied once more, over what the command already says.
    env["SNAKEMAKE_PROFILE"] = None
    # It reads the Snakefile again, and with it `workdir:`, so it starts where this Snakemake was when it did so.
    return Command((command,), "/bin/bash", str(workflow.workdir_init), env, (), needs(workflow))


def python_executable(workflow: Any) -> str:
    """The Python that has Snakemake, as a word for the shell: the node's own first, where software is not shared."""
    if SharedFSUsage.SOFTWARE_DEPLOYMENT in workflow.storage_settings.shared_fs_usage:
        return shlex.quote(sys.executable)
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('snakemake') is None)"
    return f'"$(python3 -c "{probe}" 2>/dev/null && echo python3 || echo {shlex.quote(sys.executable)})"'


def files_to_wait_for(workflow: Any, job: Any) -> list[str]:
    """The files that are to be there before the job begins, as far as they come to the node by the shared directory."""
    usage = workflow.storage_settings.shared_fs_usage
    if SharedFSUsage.INPUT_OUTPUT not in usage:
        return []
    local = SharedFSUsage.STORAGE_LOCAL_COPIES in usage
    return [str(file) for file in job.get_wait_for_files() if local or not getattr(file, "is_storage", False)]


def cores(workflow: Any, job: Any) -> int:
    """`--cores` for a job: as many as the workflow may use in all, else as many as the job holds.

    Not "all": a node may have fewer cores than the slots that its owner gave it, and more than the job's share.
    """
    resources = job.global_resources if job.is_group() else workflow.global_resources
    limit = resources["_cores"].value
    return max(1, int(job.threads)) if limit is None or limit == sys.maxsize else int(limit)


def needs(workflow: Any) -> tuple[str, ...]:
    """Paths that the node must have: the interpreter, and the Snakefile, which is read there again."""
    shared = SharedFSUsage.SOFTWARE_DEPLOYMENT in workflow.storage_settings.shared_fs_usage
    paths = [sys.executable] if shared else []
    return tuple(path for path in (*paths, str(workflow.main_snakefile)) if os.path.isabs(path))


def general_arguments(workflow: Any) -> str:
    """Options that come after Snakemake's own and win over them. Each says what Snakemake's own form loses."""
    settings = workflow.resource_settings
    defaults = settings._parsed_default_resources.items()
    overwritten = settings._parsed_overwrite_resources.items()
    # A node's `workdir:` must not win over our --directory, and a relative one would be taken from inside itself.
    directory = os.getcwd() if workflow.overwrite_workdir is not None else None
    files = [str(Path(os.path.expandvars(path)).expanduser()) for path in workflow.overwrite_configfiles]
    resources = [f"{rule}:{text}" for rule, given in overwritten for item in given.items() if (text := as_typed(*item))]
    usage = workflow.storage_settings.shared_fs_usage
    # We look at the local copies in the shared directory after the job, whoever made them.
    keep = SharedFSUsage.INPUT_OUTPUT in usage and SharedFSUsage.STORAGE_LOCAL_COPIES not in usage
    return str(
        join_cli_args(
            [
                format_cli_arg("--keep-storage-local-copies", keep),
                format_cli_arg("--directory", directory),
                format_cli_arg("--configfiles", files),
                format_cli_arg(
                    "--default-resources", [text for item in defaults if (text := as_typed(*item))], base64_encode=True
                ),
                format_cli_arg("--set-resources", resources, base64_encode=True),
            ]
        )
    )


def as_typed(name: str, resource: Any) -> str | None:
    """NAME=VALUE as an option took it; None for a function, which no option can say.

    Snakemake keeps `mem_mib=1000` as mem_mb 1048 and forwards it as `mem_mb=1000`; an expression for `mem` it drops.
    """
    if not resource.is_evaluable():
        return None if resource.value is None else f"{name}={resource.value!r}"
    typed = option_text(resource._evaluator)
    return f"{typed[0]}={typed[1]}" if typed else None
