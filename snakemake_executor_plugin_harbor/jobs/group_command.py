"""The command of a group of jobs: a small program that runs the commands of its jobs level after level.

Each job's command is captured as for a single job. So no Snakemake runs on the node.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from ..snakemake_internals import capture, partial_groups, rule_resources, settings, threads
from ..snakemake_internals import group as group_internals
from ..snakemake_internals import job as internals
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
) -> tuple[Command, list[Any]]:
    """The command of a group whose files are prepared, and the jobs that it runs, if it does not run all of them.

    If the command of a job depends on a file that an earlier one makes, the level of that job and those after it are
    left out. Raises NotYetKnown if no level is left.

    The other arguments are those of `direct_command`. `base` is the directory in which the jobs run, if that is not the
    working directory.
    """
    levels, temp_files, needs, modules = [], list[str](), dict[str, None](), dict[str, None]()
    part: list[Any] = []
    whole = True
    for level in group_internals.units(group):
        units = []
        try:
            for unit in level:
                facts = []
                for job in unit:
                    command = _command(workflow, job, tmpdir, for_node, python)
                    temp_files += command.temp_files
                    needs.update(dict.fromkeys(command.needs))
                    modules.update(dict.fromkeys(command.modules))
                    facts.append(_facts(job, command, for_node, base) | _connections(group, job, unit, for_node))
                units.append(facts)
        except NotYetKnown:
            if not part or not partial_groups.can_be_divided():
                raise
            whole = False
            break
        levels.append(units)
        part += [job for unit in level for job in unit]
    limits = rule_resources.amounts(group)
    text = json.dumps({"levels": levels, "limits": limits, "latency": settings.latency_wait(workflow)})
    script = f"{program()}\nmain({text!r})\n"
    shell, cwd = python or sys.executable, internals.directory()
    command = Command((script,), shell, cwd, {}, tuple(temp_files), tuple(needs), tuple(modules))
    return command, [] if whole else part


def _facts(job: Any, command: Command, for_node: Callable[[Any], Any], base: str | None) -> dict[str, Any]:
    """What agent/group.py has to know of a job."""
    return {
        "name": internals.describe(job),
        "scripts": command.scripts,
        "shell": command.shell or "/bin/sh",
        # The rest is in the environment of the attempt. Here `ps` would show it, with its secrets.
        "env": for_node(dict(command.env)),
        "cwd": base or command.cwd,
        "asks": rule_resources.amounts(job),
        "touch": for_node(internals.touched_outputs(job)),
        "makes": for_node(internals.made_outputs(job)),
        "log": " ".join(map(str, job.log)),
        "benchmark": for_node(str(job.benchmark)) if job.benchmark else "",
    }


def _connections(group: Any, job: Any, unit: list[Any], for_node: Callable[[Any], Any]) -> dict[str, Any]:
    """How a job is connected to the others of its unit."""
    uses, after = group_internals.waits_for(group, job, unit)
    return {
        "pipes": for_node(group_internals.pipes(job)),
        "serves": for_node(group_internals.service_files(job)),
        "uses": for_node(uses),
        "after": after,
    }


def _command(workflow: Any, job: Any, tmpdir: str, for_node: Callable[[Any], Any], python: str | None) -> Command:
    threads.forget_computed_values(job)  # They may come from files of an earlier run, which are deleted by now.
    try:
        params, resources = rule_resources.undetermined(job)
        # A resource that is not known, such as a default one from the size of the input, matters only if it is used.
        if params or "_cores" in resources or (resources and not capture.is_shell_command(job)):
            raise NotYetKnown(f"{internals.describe(job)}: {', '.join([*params, *resources])}")
        command = direct_command(workflow, job, tmpdir, for_node, python)
        texts = [*command.scripts, *map(str, command.env.values())]
        if resources and (command.temp_files or any(rule_resources.TO_BE_DETERMINED in text for text in texts)):
            raise NotYetKnown(f"{internals.describe(job)}: {', '.join(resources)}")
        return command
    except NotYetKnown:
        raise
    except Exception as error:
        if internals.missing_inputs(job):
            raise NotYetKnown(f"{internals.describe(job)}: {type(error).__name__}: {error}") from error
        raise


@cache
def program() -> str:
    """Return the program of groups, without its jobs."""
    jobs, group = (files(PROGRAM).joinpath(name).read_text("utf-8") for name in ("group_jobs.py", "group.py"))
    return jobs + re.sub("(?m)^from harbor_group_jobs import .*$", "", group)
