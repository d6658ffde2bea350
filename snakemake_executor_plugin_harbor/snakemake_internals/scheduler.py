"""Snakemake's scheduler, as far as the plugin interfaces do not promise it.

`workflow.scheduler` is None until Snakemake has built the executor. A thread of harbor may call these functions
earlier, so the functions for such threads check it.
"""

import sys
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from .contract import Feature
from .verify import has

DETACH = "detach"
"""The reason for which a run ends whose jobs stay on the nodes. Snakemake only looks whether there is one."""
NO_SUCCESS = "job did not complete successfully"
"""Part of the error with which Snakemake ends a run whose scheduler has stopped early."""


def request_round(workflow: Any) -> None:
    """Have the scheduler run one round. It sleeps until a job ends or somebody asks for a round."""
    if workflow.scheduler is not None:
        workflow.scheduler._open_jobs.release()


def merge_requests(workflow: Any) -> None:
    """Replace all requests for a round that are waiting by one.

    Snakemake requests one round for each job that ends, but the first round handles all jobs that have ended by then
    (1,900 of 2,100 rounds over 2,000 jobs found nothing, at 1.5 to 4 ms each). One request remains after the last
    report of a batch, so that no end is missed.
    """
    requests = workflow.scheduler._open_jobs
    waiting = False
    while requests.acquire(blocking=False):
        waiting = True
    if waiting:
        requests.release()


def give_back(workflow: Any, job: Any) -> None:
    """Return a job that never started to the scheduler, as if it had not been handed over.

    `scheduler.error_callback` is not used, because it post-processes the job as a failed one. That would delete the
    job's old outputs.
    """
    scheduler = workflow.scheduler
    with scheduler._lock:
        if job in scheduler.running:
            scheduler.running.remove(job)
            scheduler._free_resources(job)
            workflow.dag._ready_jobs.add(job)
    request_round(workflow)


def fail_silently(workflow: Any, job: Any) -> None:
    """Count a job as failed without printing a message about it."""
    workflow.scheduler.error_callback(job)


def fail_unstarted(workflow: Any, job: Any) -> None:
    """Count a job that never started as failed. Its old outputs stay, which `error_callback` would delete."""
    scheduler = workflow.scheduler
    with scheduler._lock:
        if job in scheduler.running:
            scheduler._handle_error(job, postprocess_job=False)
    request_round(workflow)


def unfinished_jobs(workflow: Any) -> list[Any]:
    """The jobs and groups for nodes that have not ended."""
    scheduler, dag = workflow.scheduler, workflow.dag
    with scheduler._lock:
        jobs = (dag.get_job_group(job) or job for job in dag.needrun_jobs() if not job.is_local)
        return [job for job in dict.fromkeys(jobs) if job not in scheduler.failed]


def retry_no_more(job: Any) -> None:
    """Have Snakemake take the try of a job that has just failed for its last one.

    The setter of `attempt` is not used, because it evaluates the resources again. The scheduler has not taken back
    those of this try yet.
    """
    job._attempt = job.restart_times + 1


def is_last_try(job: Any) -> bool:
    """Return True if Snakemake does not retry the job if this try fails."""
    return bool(job.restart_times <= job.attempt - 1)


def keeps_going(workflow: Any) -> bool:
    """Return True if the run goes on with independent jobs after a failure (--keep-going)."""
    return bool(workflow.execution_settings.keep_going)


def is_stopping(workflow: Any) -> bool:
    """Return True if the scheduler starts no more jobs: it was asked to stop, or a job failed without --keep-going."""
    scheduler = workflow.scheduler
    return bool(scheduler._user_kill or (scheduler._errors and not keeps_going(workflow)))


def has_unfinished_jobs(workflow: Any) -> bool:
    """Return True if jobs of this run have not ended."""
    return bool(workflow.scheduler.remaining_jobs)


def stop_gracefully(workflow: Any) -> None:
    """Start no more jobs, and let those that run end. It takes the scheduler's lock."""
    workflow.scheduler.exit_gracefully()


def is_detached(workflow: Any) -> bool:
    """Return True if the jobs on the nodes are left to a later run."""
    return bool(workflow.scheduler._user_kill == DETACH)


def stop_detached(workflow: Any, logger: Any) -> None:
    """Start no more jobs, and end without `onerror:` and without an error message.

    Snakemake knows only success and failure, so the exit code is still 1.
    """
    workflow._onerror = lambda log: None
    logger.addFilter(lambda record: NO_SUCCESS not in record.getMessage())
    workflow.scheduler._user_kill = DETACH


def stop_with_error(workflow: Any, error: WorkflowError) -> None:
    """End the run with an error. It takes the scheduler's lock."""
    workflow.scheduler.executor_error_callback(error)


def is_built(workflow: Any) -> bool:
    """Return True if the scheduler exists, so that its main loop can be asked to do something."""
    return workflow.scheduler is not None


def remove_unreachable_rate_limit(workflow: Any) -> None:
    """Remove a limit of started jobs per second that cannot be reached. It costs one timer thread and one idle
    round, a second later, for each round.
    """
    if not has(Feature.RATE_LIMIT):
        return
    scheduler = workflow.scheduler
    limiter = scheduler.job_rate_limiter
    if limiter is not None and limiter.max_jobs >= 10_000 * limiter.timespan:
        scheduler.job_rate_limiter = None
        scheduler.resources["_job_count"] = sys.maxsize
