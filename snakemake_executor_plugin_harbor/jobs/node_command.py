"""The command of a job or a group for the node that was chosen."""

from typing import Any

from ..core.model import NodeFacts
from ..errors import HarborError
from ..snakemake_internals import job as internals
from . import snakemake_command
from .command import Command, direct_command
from .group_command import NotYetKnown, group_command
from .node_paths import NodePaths
from .source_files import SourceFiles


def command_for_node(
    executor: Any, job: Any, facts: NodeFacts, local: bool, paths: NodePaths | None, sources: SourceFiles
) -> tuple[Command, bool]:
    """Return the command, and whether a Snakemake on the node runs the job.

    `paths` are those of an attempt whose files are sent. A Snakemake runs a group if the command of one of its jobs
    depends on a file that an earlier one makes.
    """
    for_node = paths.for_node if paths else sources.for_node
    python = None if local else facts.interpreter or "python3"
    workflow = executor.workflow
    if not job.is_group():
        return direct_command(workflow, job, facts.tmpdir, for_node, python), False

    base = paths.base if paths else None
    try:
        return group_command(workflow, job, facts.tmpdir, for_node, python, base), False
    except NotYetKnown as error:
        if paths is None:
            return snakemake_command.command(executor, job), True
        raise HarborError(
            f"group {internals.name(job)}: a command depends on a file that the group itself makes ({error}). That "
            "cannot be done on a node that does not have the working directory.",
            "take the rule out of the group",
        ) from error
