"""What harbor does with Snakemake's scheduler and DAG, tried with a real scheduler of a real workflow."""

import logging
import sys
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.snakemake_internals import dag, scheduler

FLOW = """
    rule all:
        input: "b"

    rule one:
        output: "a"
        shell: "touch {output}"

    rule two:
        input: "a"
        output: "b"
        threads: 2
        retries: 1
        resources: growing=lambda wildcards, attempt: attempt
        shell: "touch {output}"
"""


@pytest.fixture
def workflow(load):
    """A workflow with its scheduler, as after a dry run."""
    found = load(FLOW, cores=4)
    while found.scheduler._open_jobs.acquire(blocking=False):
        pass
    return found


def requests(workflow):
    """The requests for a round that wait. They are taken."""
    return sum(iter(lambda: workflow.scheduler._open_jobs.acquire(blocking=False), False))


def job(workflow, rule):
    return next(job for job in workflow.dag.jobs if job.rule.name == rule)


def test_many_requests_for_a_round_become_one(workflow):
    scheduler.merge_requests(workflow)
    assert requests(workflow) == 0
    for _ in range(5):
        scheduler.request_round(workflow)
    scheduler.merge_requests(workflow)
    assert requests(workflow) == 1


def test_before_the_scheduler_is_built_requests_do_nothing():
    workflow = SimpleNamespace(scheduler=None)
    scheduler.request_round(workflow)
    assert not scheduler.is_built(workflow)


def test_a_job_that_is_given_back_is_ready_again_and_its_resources_are_free(workflow):
    two, free = job(workflow, "two"), dict(workflow.scheduler.resources)
    workflow.scheduler.running.add(two)
    workflow.scheduler.resources["_cores"] -= 2
    scheduler.give_back(workflow, two)
    assert two not in workflow.scheduler.running and two in workflow.dag._ready_jobs
    assert workflow.scheduler.resources["_cores"] == free["_cores"] and requests(workflow) == 1
    scheduler.give_back(workflow, two)
    assert workflow.scheduler.resources["_cores"] == free["_cores"], "it is given back once"


def test_a_graceful_stop_is_a_stop(workflow):
    assert not scheduler.is_stopping(workflow)
    scheduler.stop_gracefully(workflow)
    assert scheduler.is_stopping(workflow) and requests(workflow) == 1


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failure_stops_the_run_unless_it_keeps_going(workflow, keep_going):
    workflow.scheduler._errors = True
    workflow.execution_settings.keep_going = keep_going
    assert scheduler.is_stopping(workflow) is not keep_going


def test_a_detached_run_ends_without_an_error_message(workflow):
    logger, lines = logging.getLogger("test_scheduler"), []
    logger.addHandler(SimpleNamespace(level=0, handle=lines.append))
    scheduler.stop_detached(workflow, logger)
    logger.error("At least one job did not complete successfully.")
    logger.error("another error")
    assert [line.getMessage() for line in lines] == ["another error"]
    assert scheduler.is_stopping(workflow) and workflow._onerror("log") is None


def test_the_last_try_of_a_job_is_known(workflow):
    two = job(workflow, "two")
    assert scheduler.is_last_try(job(workflow, "one")) and not scheduler.is_last_try(two)
    two.attempt = 2
    assert scheduler.is_last_try(two)


def test_a_cancelled_job_is_not_tried_again(workflow):
    two = job(workflow, "two")
    taken = two.resources.growing
    scheduler.retry_no_more(two)
    assert scheduler.is_last_try(two)
    assert two.resources.growing == taken == 1, "the scheduler takes back what it has given"


def test_a_job_that_fails_before_it_starts_keeps_its_outputs(workflow, tmp_path):
    two, output, cores = job(workflow, "two"), tmp_path / "work" / "b", workflow.scheduler.resources["_cores"]
    output.write_text("old")
    workflow.scheduler.running.add(two)
    workflow.scheduler.resources["_cores"] -= 2
    scheduler.retry_no_more(two)
    scheduler.fail_unstarted(workflow, two)
    scheduler.fail_unstarted(workflow, two)
    assert two in workflow.scheduler.failed and two not in workflow.scheduler.running and output.exists()
    assert workflow.scheduler.resources["_cores"] == cores and requests(workflow) == 2


@pytest.mark.parametrize(("limit", "stays"), [(100, True), (100_000, False)])
def test_only_a_limit_that_cannot_be_reached_is_removed(workflow, limit, stays):
    workflow.scheduler.job_rate_limiter = SimpleNamespace(max_jobs=limit, timespan=1)
    workflow.scheduler.resources["_job_count"] = 7
    scheduler.remove_unreachable_rate_limit(workflow)
    assert (workflow.scheduler.job_rate_limiter is not None) is stays
    assert (workflow.scheduler.resources["_job_count"] == sys.maxsize) is not stays


def test_the_dag_is_read(workflow):
    two = job(workflow, "two")
    assert not dag.is_empty(workflow)
    assert list(dag.dependencies(workflow, two)) == [job(workflow, "one")]
    workflow.dag._ready_jobs.clear()
    assert not dag.has_ready_jobs(workflow)
    workflow.dag._ready_jobs.add(two)
    assert dag.has_ready_jobs(workflow)


def test_an_event_loop_that_is_in_use_is_not_closed(workflow):
    loops = {1: object(), 2: object()}
    workflow._async_runners.update(loops)
    dag.keep_event_loops(workflow, [1, 3])
    assert workflow._async_runners.pop(2) is loops[2] and 1 not in workflow._async_runners
