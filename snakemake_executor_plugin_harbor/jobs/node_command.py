"""The command of a job or a group for the node that was chosen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..core.model import NodeFacts
from ..snakemake_internals import partial_groups
from ..staging.model import Source
from . import snakemake_command
from .command import Command, direct_command
from .group_command import NotYetKnown, group_command
from .in_flight import InFlightJob
from .node_paths import NodePaths
from .source_files import SourceFiles
from .staged_snakemake import staged_command
from .staging import StagedAttempt, Staging


@dataclass(frozen=True)
class NodeCommand:
    """A command. If the job's files are sent, `staged` is the attempt with its `paths`. `workflow_sources` are files
    that a Snakemake on the node needs in addition to those of the job.
    """

    command: Command
    staged: StagedAttempt | None = None
    paths: NodePaths | None = None
    workflow_sources: tuple[Source, ...] = ()


def command_for_node(
    executor: Any,
    entry: InFlightJob,
    local: bool,
    facts: NodeFacts,
    sources: SourceFiles,
    staging: Staging,
    attempt: Callable[[bool], StagedAttempt],
) -> NodeCommand:
    """Return the command. `attempt` makes the attempt whose files are sent, and is told whether a Snakemake runs it.

    A group is run in parts if commands depend on files that it makes itself. If that is not enough, a Snakemake on the
    node runs it. This is noted as the entry's `command`, as for jobs that are run so from the beginning.
    """
    workflow, job = executor.workflow, entry.job
    python = None if local else facts.interpreter or "python3"
    why = ""
    if entry.command is None:
        staged = attempt(False) if facts.staged else None
        paths = staging.paths(job, facts.scratch, staged) if staged else None
        for_node = paths.for_node if paths else sources.for_node
        try:
            if job.is_group():
                base = paths.base if paths else None
                command, part = group_command(workflow, job, facts.tmpdir, for_node, python, base)
                partial_groups.set_part(job, part)
            else:
                command = direct_command(workflow, job, facts.tmpdir, for_node, python)
            return NodeCommand(command, staged, paths)
        except NotYetKnown as error:
            why = f"a command depends on a file that the group itself makes: {error}"
            entry.command = snakemake_command.command(executor, job)
    if not facts.staged:
        return NodeCommand(entry.command)
    staged = attempt(True)
    paths = staging.paths(job, facts.scratch, staged)
    command, files = staged_command(workflow, job, entry.command, facts, paths, staged.name, why)
    return NodeCommand(command, staged, paths, tuple(files))
