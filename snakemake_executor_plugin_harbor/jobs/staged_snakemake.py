"""The command of a Snakemake that runs a job on a node which does not have the working directory.

The workflow is read there again, so its sources are sent with the job's inputs: Snakefiles and scripts under the names
that they have here, below the attempt's directory.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.utils import format_cli_arg, join_cli_args

from ..core.feasibility import release_of
from ..core.model import NodeFacts
from ..errors import HarborError
from ..snakemake_internals import deployment, output_cache, source_cache, workflow_sources
from ..snakemake_internals import job as internals
from ..snakemake_internals.verify import version
from ..staging.model import Source
from . import snakemake_command, start_files
from .command import Command
from .node_paths import NodePaths

CACHE = ".harbor/sources"
"""The source cache of the node's Snakemake, in the attempt's directory."""
RUNNER = ".harbor/node_run.py"
"""The program that starts it."""


def staged_command(
    workflow: Any, job: Any, shared: Command, facts: NodeFacts, paths: NodePaths, name: str, why: str
) -> tuple[Command, list[Source]]:
    """Return the command, and the sources of the workflow that it needs. `shared` is the command for nodes that have
    the working directory. `name` is that of the attempt, for a file. `why` is the reason why a Snakemake has to run the
    job, if this was not known before. Raises HarborError.
    """
    python, found = facts.snakemake or ("", "")
    if release_of(found) != release_of(version()):
        because = f" ({why})" if why else ""
        raise HarborError(
            f"{internals.name(job)}: a Snakemake {release_of(version())} has to run it on its node{because}, and "
            f"{facts.host} has none.",
            f"{facts.interpreter or 'python3'} -m pip install snakemake=={version()}   # there",
        )
    _check_names(workflow, job, paths)
    (line,) = shared.scripts
    ours = f"{snakemake_command.python_executable(workflow)} -m snakemake"
    facts_file = start_files.write(json.dumps(workflow_sources.facts_for_runner(workflow, job)), f"{name}.json")
    program = [python, os.path.join(paths.stage, RUNNER), paths.there(facts_file)]
    line = line.replace(ours, shlex.join(program), 1)
    cache = source_cache.runtime_directory(workflow)
    line = line.replace(str(format_cli_arg("--runtime-source-cache-path", str(cache))), "", 1)
    # The controller moves outputs from and into the between-workflow cache.
    line = line.replace(output_cache.forwarded_option(workflow) or "\0", "", 1)
    snakefile = workflow_sources.main_snakefile(workflow)
    given = list(map(os.path.abspath, map(str, snakemake_command.given_config_files(workflow))))
    line = join_cli_args(
        [
            line,
            format_cli_arg("--snakefile", snakefile if "://" in snakefile else paths.there(snakefile)),
            format_cli_arg("--directory", paths.base),
            format_cli_arg("--configfiles", [paths.there(path) for path in given]),
            format_cli_arg("--runtime-source-cache-path", os.path.join(paths.stage, CACHE)),
            # They are not sent. A node that has them has them at the same paths.
            deployment.prefix_options(workflow),
        ]
    )
    env = {name: value for name, value in shared.env.items() if name != "SNAKEMAKE_OUTPUT_CACHE"}
    files = dict.fromkeys(_sources(workflow, job, paths, given))
    return Command((line,), shared.shell, paths.base, env, (facts_file,)), list(files)


def _sources(workflow: Any, job: Any, paths: NodePaths, given: list[str]) -> Iterator[Source]:
    yield Source(workflow_sources.RUNNER, RUNNER)
    for path, name in workflow_sources.cached_files(workflow):
        is_local = name.startswith(workflow_sources.LOCAL)
        origin = "/" + name.removeprefix(workflow_sources.LOCAL)
        yield Source(path, paths.name(origin) if is_local else os.path.join(CACHE, name))
    for path in (*workflow_sources.read_files(workflow), *workflow_sources.cwl_files(job), *given):
        yield Source(path, paths.name(path))
    for path, name in workflow_sources.config_files(workflow):
        yield Source(path, paths.name(path if os.path.isabs(name) else name))
    for path in workflow_sources.checkpoint_outputs(workflow, job):
        yield Source(path, paths.name(path))


def _check_names(workflow: Any, job: Any, paths: NodePaths) -> None:
    """Raise HarborError if the Snakefile gives a file of the job an absolute path, where the node's Snakemake would
    look for it. A path that is made from the place of the Snakefile or of the working directory is right there, too.
    """
    for name in internals.declared_files(job):
        if not os.path.isabs(name) or paths.is_source(name):
            continue
        where = "outside the working directory" if paths.is_outside(name) else _where_written(workflow, paths)
        if where:
            raise HarborError(
                f"{internals.name(job)}: {name} is an absolute path {where}. A Snakemake that runs the job on a node "
                "without the working directory would look for it there.",
                "give it a name relative to the working directory",
            )


def _where_written(workflow: Any, paths: NodePaths) -> str:
    """Return in which Snakefile or configuration file the path of the working directory is written, if in any."""
    files = [path for path, _ in (*workflow_sources.cached_files(workflow), *workflow_sources.config_files(workflow))]
    for path in files:
        text = Path(path).read_text("utf-8", "replace")
        if any(directory in text for directory in paths.workdirs):
            return f"that is written in {os.path.basename(path)}"
    return ""
