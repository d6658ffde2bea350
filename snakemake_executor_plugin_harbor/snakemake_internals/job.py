"""Reads of a job, and changes to it, that the plugin interfaces do not promise. `job` is always Snakemake's object."""

import os
import shutil
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import SharedFSUsage

from . import named_list


def wildcards(job: Any) -> dict[str, str]:
    """The job's wildcards by name. A group has none of its own."""
    return {} if job.is_group() else dict(job.wildcards_dict)


def is_python_code(job: Any) -> bool:
    """Return True if the job is one of a rule with `run:`."""
    return bool(not job.is_group() and job.is_run)


def identity(job: Any) -> tuple[tuple[Any, ...], list[tuple[str | None, Any]]]:
    """Return the text that the user wrote about the job of one rule: strings, lists of strings, and its params.

    Only params can be objects of any kind.
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
    return facts, named_list.items(job.params)


def prepare(workflow: Any, job: Any) -> None:
    """Have Snakemake remove the job's old outputs, make its directories and wait for its inputs.

    The jobs of a group cannot be prepared so, because a later one would wait for outputs of an earlier one.
    """
    workflow.async_run(_prepare_group(job) if job.is_group() else job.prepare())


async def _prepare_group(group: Any) -> None:
    from snakemake.io import is_flagged

    for job in group.jobs:
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


def touched_outputs(job: Any) -> list[str]:
    """The outputs of the job of one rule that Snakemake makes when the command has ended."""
    return [str(file) for file in job.output if file in job.touch_output]


def made_outputs(job: Any) -> list[str]:
    """The outputs of the job of one rule that its command makes and that stay when it has ended."""
    done = (*job.touch_output, *job.pipe_or_service_output)
    return [str(file) for file in job.output if file not in done]


def kept_outputs(job: Any) -> list[str]:
    """The outputs that are to stay: those of the job, or of a group without its pipes, the files of its services, and
    the temporary files that only it reads.
    """
    from snakemake.io import is_flagged

    if not job.is_group():
        return [str(file) for file in job.output]
    return [
        str(file)
        for member in job.jobs
        for file in member.output
        if file not in member.pipe_or_service_output
        and (not is_flagged(file, "temp") or _is_read_outside(job, member, file))
    ]


def group_benchmarks(job: Any) -> list[str]:
    """The benchmark files of a group's jobs. The node makes them, while the controller makes those of single jobs."""
    return [str(one.benchmark) for one in members(job) if one.benchmark] if job.is_group() else []


def _is_read_outside(group: Any, member: Any, file: Any) -> bool:
    """Return True if a file that a member makes is a target of the run, or an input of a job outside the group."""
    # A copy, because a checkpoint changes the DAG in Snakemake's thread.
    readers = list(group.dag.depending.get(member, {}).items())
    return file in group.dag.targetfiles or any(file in files and job not in group.jobs for job, files in readers)


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
