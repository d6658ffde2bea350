"""Reads of a job, and changes to it, that the plugin interfaces do not promise. `job` is always Snakemake's object."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from . import named_list

DONE = "harbor_done_jobs"
"""The attribute of a group with those of its jobs that have succeeded although the group has not."""
PART = "harbor_part"
"""The attribute of a group with those of its jobs that the current attempt runs, if others follow them later."""
NAMES_SHOWN = 5
"""The name of a group has at most this many rules."""


def wildcards(job: Any) -> dict[str, str]:
    """The job's wildcards by name. Those of a group have the same value in all its jobs that have them."""
    if not job.is_group():
        return dict(job.wildcards_dict)
    values: dict[str, set[str]] = {}
    for level in job.toposorted:
        for member in level:
            for name, value in member.wildcards_dict.items():
                values.setdefault(name, set()).add(value)
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def name(job: Any) -> str:
    """The job's rule. A group has the rules of its jobs in their order, as in `run+post`."""
    if not job.is_group():
        return str(job.name)
    rules = list(dict.fromkeys(rule for level in job.toposorted for rule in sorted({one.rule.name for one in level})))
    return "+".join(rules[:NAMES_SHOWN] + ["..."] * (len(rules) > NAMES_SHOWN))


def number(job: Any) -> str:
    """The number that Snakemake prints for the job. A group has the lowest of its jobs."""
    return numbers(job)[0]


def numbers(job: Any) -> list[str]:
    """The numbers that Snakemake prints for the jobs of a group, from the lowest on, or for a job."""
    return [str(number) for number in sorted(member.jobid for member in members(job))]


def is_python_code(job: Any) -> bool:
    """Return True if the job is one of a rule with `run:`."""
    return bool(not job.is_group() and job.is_run)


def identity(job: Any, evaluate: bool = True) -> tuple[tuple[Any, ...], list[tuple[str | None, Any]]]:
    """Return the text that the user wrote about the job of one rule: strings, lists of strings, and its params.

    Only params can be objects of any kind. If they are not to be evaluated, functions are among them.
    """
    rule = job.rule
    facts = (
        rule.name,
        getattr(rule, "run_func_src", None) or "",
        rule.shellcmd or "",
        str(rule.script or rule.wrapper or rule.notebook or ""),
        [str(path) for path in job.input],
        [str(path) for path in job.output],
        [str(path) for path in job.log],
        str(job.benchmark or ""),
        sorted((name, str(value)) for name, value in job.wildcards_dict.items()),
    )
    return facts, named_list.items(job.params if evaluate else rule.params)


def prepare(workflow: Any, job: Any) -> None:
    """Have Snakemake remove the job's old outputs, make its directories and wait for its inputs.

    The jobs of a group cannot be prepared so, because a later one would wait for outputs of an earlier one.
    """
    workflow.async_run(_prepare_group(job) if job.is_group() else job.prepare())


async def _prepare_group(group: Any) -> None:
    from snakemake.io import is_flagged

    for job in unfinished(group):
        if job.is_norun:
            continue
        await job.check_protected_output()
        await job.remove_existing_output()
        for file in job.output:
            if is_flagged(file, "pipe"):
                # The pipe itself is made on the node, when its jobs start.
                Path(file).parent.mkdir(parents=True, exist_ok=True)
            else:
                file.prepare()
        for file in (*job.log, *([job.benchmark] if job.benchmark else ())):
            file.prepare()


def prepare_for_other_snakemake(workflow: Any, job: Any) -> None:
    """Remove old outputs of a job or group and make its directories. A Snakemake that works on copies of its files does
    the rest.
    """
    workflow.async_run(_prepare_members(job))


async def _prepare_members(job: Any) -> None:
    from snakemake.io import is_flagged

    for member in members(job):
        await member.check_protected_output()
        await member.remove_existing_output()
        for file in member.output:
            if is_flagged(file, "update") and os.path.exists(file):
                member.rule.workflow.persistence.backup_output(Path(file))
        for file in filter(None, (*member.output, *member.log, member.benchmark)):
            if not _is_stream(file):  # The other Snakemake makes it, where the jobs are that it connects.
                file.prepare()


def _is_stream(file: Any) -> bool:
    """Return True if a file is marked pipe() or service(). It lives as long as the group of jobs that it connects."""
    from snakemake.io import is_flagged

    return bool(is_flagged(file, "pipe") or is_flagged(file, "service"))


def describe(job: Any) -> str:
    """The rule of a job with its wildcards, as in `rule:case=3`."""
    values = ",".join(f"{name}={value}" for name, value in wildcards(job).items())
    return f"{job.rule.name}:{values}" if values else str(job.rule.name)


def directory() -> str:
    """The working directory of the workflow."""
    return os.getcwd()


def members(job: Any) -> list[Any]:
    """The jobs of a group, or the job itself."""
    return list(job.jobs) if job.is_group() else [job]


def done_jobs(job: Any) -> frozenset[Any]:
    """The jobs of a group that have succeeded although the group has not."""
    return getattr(job, DONE, frozenset())


def part(job: Any) -> frozenset[Any]:
    """The jobs of a group that the current attempt runs, if others follow them later. It is empty if none do."""
    return getattr(job, PART, frozenset())


def unfinished(job: Any) -> list[Any]:
    """The jobs of a group that the current attempt has to run, or the job itself."""
    done, wanted = done_jobs(job), part(job)
    return [member for member in members(job) if member not in done and (not wanted or member in wanted)]


def needed_inputs(job: Any) -> list[str]:
    """The inputs of the job, or those of a group that none of its unfinished jobs makes."""
    if not job.is_group():
        return [str(file) for file in job.input]
    running = unfinished(job)
    made = {str(file) for member in running for file in member.output}
    return [path for member in running for path in map(str, member.input) if path not in made]


def declared_files(job: Any) -> list[str]:
    """The inputs, outputs and logs of a job or of the members of a group."""
    return [str(file) for one in members(job) for file in (*one.input, *one.output, *one.log, *benchmarks(one))]


def benchmarks(job: Any) -> list[str]:
    """The benchmark files of a job or of the members of a group."""
    return [str(one.benchmark) for one in members(job) if one.benchmark]


def touched_outputs(job: Any) -> list[str]:
    """The outputs of the job of one rule that Snakemake makes when the command has ended."""
    return [str(file) for file in job.output if file in job.touch_output]


def made_outputs(job: Any) -> list[str]:
    """The outputs of the job of one rule that its command makes and that stay when it has ended."""
    done = (*job.touch_output, *job.pipe_or_service_output)
    return [str(file) for file in job.output if file not in done]


def kept_outputs(jobs: Collection[Any]) -> list[str]:
    """The outputs of jobs that are to stay: all but pipes, the files of services, and the temporary files that only
    these jobs read.
    """
    from snakemake.io import is_flagged

    return [
        str(file)
        for job in jobs
        for file in job.output
        if file not in job.pipe_or_service_output
        and (not is_flagged(file, "temp") or len(jobs) == 1 or _is_read_outside(job, file, jobs))
    ]


def group_benchmarks(job: Any) -> list[str]:
    """The benchmark files of a group's jobs. The node makes them, while the controller makes those of single jobs."""
    return [path for one in unfinished(job) for path in benchmarks(one)] if job.is_group() else []


def _is_read_outside(job: Any, file: Any, jobs: Collection[Any]) -> bool:
    """Return True if a file that the job makes is a target of the run, or an input of a job that is not in `jobs`."""
    # A copy, because a checkpoint changes the DAG in Snakemake's thread.
    readers = list(job.dag.depending.get(job, {}).items())
    return file in job.dag.targetfiles or any(file in files and reader not in jobs for reader, files in readers)


def undo_preparation(workflow: Any, job: Any) -> None:
    """Reset a job after a lost attempt, as Snakemake does between retries.

    Outputs marked update() are restored, and the shadow directory is deleted. The next `prepare` deletes the other
    outputs.
    """
    from snakemake.io import is_flagged

    for member in members(job):
        for file in member.output:
            if is_flagged(file, "update"):
                workflow.persistence.restore_output(Path(file))
    if not job.is_group() and job.shadow_dir:
        shutil.rmtree(job.shadow_dir, ignore_errors=True)
        job.shadow_dir = None


def missing_outputs(job: Any, shadow_dir: str | None = None) -> list[str]:
    """The outputs that are not visible on the controller yet, because NFS shows new files late.

    `shadow_dir` is the shadow directory that an earlier controller made for the job. Outputs marked touch() are never
    missing, because Snakemake makes them after the job. If --shared-fs-usage leaves out input-output, then a
    Snakemake on the node has moved the outputs into storage, so none is expected here.
    """
    if not outputs_are_shared(members(job)[0].rule.workflow):
        return []
    if job.is_group():
        # Snakemake waits for the others.
        return [path for path in group_benchmarks(job) if not os.path.lexists(path)]
    directory, touched = shadow_dir or job.shadow_dir or "", job.touch_output
    return [
        str(file) for file in job.output if file not in touched and not os.path.lexists(os.path.join(directory, file))
    ]


def outputs_are_shared(workflow: Any) -> bool:
    """Return True if the controller sees what jobs write (--shared-fs-usage input-output)."""
    return SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage


def awaited_files(workflow: Any, job: Any) -> list[str]:
    """The files that the job needs and that come to its node by the shared directory."""
    if not outputs_are_shared(workflow):
        return []
    copies = SharedFSUsage.STORAGE_LOCAL_COPIES in workflow.storage_settings.shared_fs_usage
    return [str(file) for file in job.get_wait_for_files() if copies or not getattr(file, "is_storage", False)]


def missing_inputs(job: Any) -> list[str]:
    """The inputs that do not exist yet."""
    return [str(file) for file in job.input if not os.path.exists(file)]


def shadow_directory(job: Any) -> str | None:
    """The shadow directory in which the job runs. A group has none."""
    return None if job.is_group() else job.shadow_dir


def shadow_depth(job: Any) -> Any:
    """The value of `shadow:`; None if the job's rule has none."""
    return job.rule.shadow_depth if job.is_shadow else None


def continue_earlier(job: Any, attempt: int | None, shadow_dir: str | None) -> None:
    """Have Snakemake regard the job as its try number `attempt`, in the shadow directory of that try."""
    if attempt is not None:
        job.attempt = attempt
    if shadow_dir is not None:
        job.shadow_dir = shadow_dir
