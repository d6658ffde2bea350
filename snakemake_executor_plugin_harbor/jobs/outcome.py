"""What has to be true before Snakemake hears of a job's end, and what it is told."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..core.model import JobState, Outcome
from ..core.protocol import printable


def missing_outputs(job: Any) -> list[str]:
    """Outputs that are not visible here yet (NFS shows new files late). touch() outputs are made afterwards."""
    if job.is_group() or not _files_are_here(job.rule.workflow):
        return []
    return [
        str(file)
        for file in job.output
        if file not in job.touch_output and not os.path.lexists(job.shadowed_path(file))
    ]


def _files_are_here(workflow: Any) -> bool:
    """False where --shared-fs-usage leaves out input-output: a Snakemake on the node has put the files into storage."""
    from snakemake.settings.types import SharedFSUsage

    return SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage


class Latency:
    """How long outputs have been waited for, per job."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[str, float] = {}

    def over(self, id: str) -> bool:
        """Whether the wait that begins with the first question is over."""
        since = self._since.setdefault(id, time.monotonic())
        if time.monotonic() - since < self.seconds:
            return False
        del self._since[id]
        return True

    def done(self, id: str) -> None:
        """The outputs are there."""
        self._since.pop(id, None)


def clean(temp_files: Iterable[str]) -> None:
    """Remove the script files that Snakemake made for a captured command."""
    for path in temp_files:
        target = Path(path)
        with contextlib.suppress(OSError):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()


def undo(workflow: Any, job: Any) -> None:
    """Before another attempt of a job whose last one was lost: files that it updates are as they were, and its shadow
    directory is gone, as Snakemake has it between two tries. (Other outputs go when it is prepared.)
    """
    from snakemake.io import is_flagged

    for file in job.output:
        if is_flagged(file, "update"):
            workflow.persistence.restore_output(Path(file))
    if job.shadow_dir:
        shutil.rmtree(job.shadow_dir, ignore_errors=True)
        job.shadow_dir = None


def undo_unstarted(workflow: Any, entry: Any) -> None:
    """`undo` for an attempt that was prepared and never sent."""
    if entry.prepared and entry.command is None:
        entry.prepared = False
        undo(workflow, entry.job)


def write_benchmark(workflow: Any, job: Any, steps: Iterable[Mapping[str, Any]]) -> None:
    """The rule's benchmark file, from what the node's kernel counted (wait4) for each repeat."""
    from snakemake.benchmark import BenchmarkRecord, write_benchmark_records

    records = []
    for step in steps:
        seconds = max(1e-4, float(step.get("end", 0)) - float(step.get("start", 0)))
        cpu = float(step.get("cpu_s") or 0.0)
        record = BenchmarkRecord(
            running_time=seconds,
            max_rss=step.get("max_rss_mb"),
            # The kernel does not keep these peaks for a process that has ended.
            max_vms="NA",
            max_uss="NA",
            max_pss="NA",
            io_in=step.get("in_mb"),
            io_out=step.get("out_mb"),
            cpu_usage=100 * cpu,
            cpu_time=cpu,
        )
        record.jobid, record.rule_name = job.jobid, job.rule.name
        record.wildcards, record.params = job.wildcards, job.params
        record.resources, record.input, record.threads = job.resources, job.input, job.threads
        record.data_collected = "cpu_s" in step
        record.process_gone = True  # says that NA is nothing to warn of
        records.append(record)
    write_benchmark_records(records, str(job.benchmark), workflow.output_settings.benchmark_extended)


def from_cache(workflow: Any, job: Any) -> bool:
    """Fetch the outputs of a `cache:` rule from Snakemake's between-workflow cache, if they are there."""
    if not cached(workflow, job):
        return False
    from snakemake.exceptions import CacheMissException

    try:
        workflow.async_run(job.rule.cache.fetch(job))
    except CacheMissException:
        return False
    return True


def to_cache(job: Any) -> None:
    """Move the outputs of a `cache:` rule to that cache, on any thread."""
    from snakemake.common import async_run

    async_run(job.rule.cache.store(job))


def to_be_cached(workflow: Any, job: Any) -> bool:
    """Whether a job's outputs still have to go to the cache. A Snakemake on the node that was told of the cache has
    moved them already and left links.
    """
    if not cached(workflow, job):
        return False
    place = os.path.realpath(getattr(workflow.output_file_cache, "path", os.devnull))
    return not any(os.path.islink(file) and os.path.realpath(file).startswith(f"{place}/") for file in job.output)


def cached(workflow: Any, job: Any) -> bool:
    """Whether a job's outputs go to the between-workflow cache."""
    return bool(
        workflow.workflow_settings.cache is not None and not job.is_group() and job.rule.cache and job.rule.cache.output
    )


def complete(workflow: Any, job: Any, outcome: Outcome, missing: list[str], waited: float) -> str | None:
    """What remains to be done for a job that ended well; why it failed after all, or None."""
    if missing:
        return (
            f"harbor: the command ended with exit code 0 on {outcome.node}, but outputs are missing here after "
            f"{waited} s (--latency-wait): {', '.join(missing)}"
        )
    if outcome.exit is None or job.is_group() or not _files_are_here(workflow):
        return None
    if job.benchmark and not (job.is_run or job.is_notebook or job.is_cwl):
        # An agent that has not started the job itself knows only how long it took.
        write_benchmark(workflow, job, outcome.exit.get("steps") or [outcome.exit])
    return None


def describe(outcome: Outcome, log: str | None) -> str:
    """Why a job failed, for Snakemake's error message: reason, node, the end of its output, its log."""
    where = f" on {outcome.node}" if outcome.node else ""
    lines = [f"harbor: attempt {outcome.attempt}{where}: {outcome.reason}"]
    if outcome.state == JobState.CANCELLED:
        lines = [f"harbor: cancelled{where}"]
    tail = str((outcome.exit or {}).get("tail") or "").rstrip()
    if tail:
        last = tail.splitlines()[-20:]
        lines.append("  the end of its output:")
        lines += [f"    {printable(line)}" for line in last]
    if log and Path(log).exists():
        lines.append(f"  all of its output: {log}")
    return "\n".join(lines)
