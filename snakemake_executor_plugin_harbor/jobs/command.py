"""The command of a job, and whether it is dispatched directly or by a Snakemake on the node.

A direct command is the one that Snakemake itself would run. `snakemake_internals/capture.py` captures it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from ..errors import HarborError
from ..snakemake_internals import capture, deployment
from ..snakemake_internals import job as internals
from ..snakemake_internals.contract import Feature
from ..snakemake_internals.verify import has, version

NEEDED_USAGES = (SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.STORAGE_LOCAL_COPIES, SharedFSUsage.SOFTWARE_DEPLOYMENT)
"""A direct job finds these in the shared directory. If --shared-fs-usage leaves one out, the job provides it itself."""


@dataclass(frozen=True)
class Command:
    """`scripts` are run one after the other by the program `shell`, in the directory `cwd`.

    `env` holds the variables that are set in addition to the node's own (None: removed). `temp_files` are files on the
    controller that were made for this command; they are removed when it has ended. `needs` are paths that the node
    must have. `modules` are files of the workflow that Python scripts import.
    """

    scripts: tuple[str, ...]
    shell: str | None
    cwd: str
    env: Mapping[str, str | None]
    temp_files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def dispatch_mode(workflow: Any, job: Any, setting: str) -> str:
    """`direct` or `snakemake`. Raises HarborError if the setting is `direct` and the job cannot be dispatched so."""
    reason = capture.obstacle(job) or _not_shared(workflow)
    if setting == "snakemake" or (setting == "auto" and reason):
        return "snakemake"
    if reason:
        raise HarborError(
            f"--harbor-dispatch direct: {internals.name(job)} cannot be dispatched directly: {reason}.",
            "--harbor-dispatch auto",
        )
    return "direct"


def why_unstaged(workflow: Any, job: Any, mode: str) -> str:
    """Why the job needs a node that has the working directory. It is empty if its files can be sent to the node."""
    reason = _not_shared(workflow) if mode == "snakemake" else None
    return f"a Snakemake on its node gets and stores the job's files, and needs it ({reason})" if reason else ""


def snakemake_on_node(job: Any, mode: str) -> tuple[str, str] | None:
    """The version of Snakemake that runs the job on its node, and why. None if it is dispatched directly."""
    if mode != "snakemake":
        return None
    return version(), capture.obstacle(job) or "--harbor-dispatch snakemake"


def _not_shared(workflow: Any) -> str | None:
    usage = workflow.storage_settings.shared_fs_usage
    absent = [each.item_to_choice() for each in NEEDED_USAGES if each not in usage]
    return f"--shared-fs-usage leaves out {', '.join(absent)}" if absent else None


def direct_command(
    workflow: Any, job: Any, tmpdir: str, for_node: Callable[[Any], Any], python: str | None = None
) -> Command:
    """The command of a job whose files are prepared. `tmpdir` is the node's directory for temporary files.

    `for_node` replaces paths in a value by those that the node knows. `python` is the node's Python for scripts (None:
    this one).
    """
    captured = capture.capture(workflow, job, tmpdir, for_node, python)
    return Command(
        captured.scripts,
        captured.shell,
        captured.cwd,
        captured.env,
        captured.temp_files,
        direct_needs(workflow, job),
        captured.modules,
    )


def direct_needs(workflow: Any, job: Any) -> tuple[str, ...]:
    """The paths outside the working directory that a node must have for a direct job or group."""
    if job.is_group():
        return tuple(dict.fromkeys(path for one in internals.members(job) for path in direct_needs(workflow, one)))
    if deployment.container(workflow, job):
        return ()
    environment = deployment.conda_environment(workflow, job)
    if environment:
        # An environment that Snakemake has not made is given by its name.
        return (str(environment),) if os.path.isabs(str(environment)) else ()
    return () if has(Feature.STAND_IN) or not deployment.embeds_this_python(job) else (sys.executable,)
