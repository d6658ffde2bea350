"""The command of a group of jobs: a small program that runs the commands of its jobs one after the other.

Each job's command is captured as for a single job. So no Snakemake runs on the node.
"""

import json
import sys
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from ..snakemake_internals import job as internals
from ..snakemake_internals import rule_resources, threads
from .command import Command, direct_command

PROGRAM = f"{__package__.rpartition('.')[0]}.agent"


class NotYetKnown(Exception):
    """The command of a job depends on a file that an earlier job of its group makes."""


def group_command(
    workflow: Any,
    group: Any,
    tmpdir: str,
    for_node: Callable[[Any], Any],
    python: str | None,
    base: str | None,
) -> Command:
    """The command of a group whose files are prepared. Raises NotYetKnown.

    The other arguments are those of `direct_command`. `base` is the directory in which the jobs run, if that is not the
    working directory.
    """
    levels, temp_files, needs = [], list[str](), dict[str, None]()
    for level in internals.levels(group):
        jobs = []
        for job in level:
            command = _command(workflow, job, tmpdir, for_node, python)
            temp_files += command.temp_files
            needs.update(dict.fromkeys(command.needs))
            for script in command.scripts:
                jobs.append(
                    {
                        "name": internals.describe(job),
                        "script": script,
                        "shell": command.shell or "/bin/sh",
                        # The rest is in the environment of the attempt. Here `ps` would show it, with its secrets.
                        "env": for_node(dict(command.env)),
                        "cwd": base or command.cwd,
                        "threads": max(1, int(job.threads)),
                        "touch": internals.touched_outputs(job),
                        "makes": internals.made_outputs(job),
                        "log": " ".join(map(str, job.log)),
                    }
                )
        levels.append(jobs)
    text = json.dumps({"levels": levels, "cores": max(1, int(group.threads))})
    script = f"{_program()}\nmain({text!r})\n"
    return Command((script,), python or sys.executable, internals.directory(), {}, tuple(temp_files), tuple(needs))


def _command(workflow: Any, job: Any, tmpdir: str, for_node: Callable[[Any], Any], python: str | None) -> Command:
    threads.forget_computed_values(job)  # They may come from files of an earlier run, which are deleted by now.
    unknown = rule_resources.undetermined(job)
    if unknown:
        raise NotYetKnown(f"{internals.describe(job)}: {', '.join(unknown)}")
    try:
        return direct_command(workflow, job, tmpdir, for_node, python)
    except Exception as error:
        if internals.missing_inputs(job):
            raise NotYetKnown(f"{internals.describe(job)}: {type(error).__name__}: {error}") from error
        raise


@cache
def _program() -> str:
    return files(PROGRAM).joinpath("group.py").read_text("utf-8")
