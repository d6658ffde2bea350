"""Snakemake's graph of jobs and the end of its run, as far as the plugin interfaces do not promise them."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any


def is_empty(workflow: Any) -> bool:
    """Return True if the run has no jobs at all. Snakemake then prints "Nothing to be done"."""
    return not len(workflow.dag)


def jobs_for_nodes(workflow: Any) -> Iterator[Any]:
    """The jobs of this run that are not local ones."""
    return (job for job in workflow.dag.needrun_jobs() if not job.is_local)


def count_for_nodes(workflow: Any, handed_over: Mapping[Any, Any] = MappingProxyType({})) -> int:
    """The number of jobs of this run that are not local ones, with those that are done. A group is one job.

    `handed_over` has the groups of the jobs that were handed over. Snakemake forgets which jobs were a group when the
    group is done and a checkpoint is evaluated.
    """
    jobs = {*workflow.dag.finished_jobs, *workflow.dag.needrun_jobs()}
    return len({handed_over.get(job) or workflow.dag.get_job_group(job) or job for job in jobs if not job.is_local})


def size(workflow: Any) -> int:
    """The number of all jobs of this run. It changes when a checkpoint is evaluated."""
    return len(workflow.dag)


def dependencies(workflow: Any, job: Any) -> Iterable[Any]:
    """The jobs whose outputs a job needs."""
    return workflow.dag.job_dependencies(job)  # type: ignore[no-any-return]


def has_ready_jobs(workflow: Any) -> bool:
    """Return True if Snakemake is going to hand over more jobs in its next round."""
    return bool(workflow.dag._ready_jobs)


def keep_output_directories(workflow: Any) -> None:
    """Have Snakemake keep empty output directories at its end, because jobs that still run write there."""
    workflow.dag.cleanup_workdir = lambda: None


def keep_event_loops(workflow: Any, threads: Iterable[int]) -> None:
    """Have Snakemake not close the event loops of these threads at its end.

    Closing a loop that is in use is an error. The threads are daemons, so the process ends without them.
    """
    with workflow._async_lock:
        for thread in threads:
            workflow._async_runners.pop(thread, None)
