"""The jobs in flight: their ids, attempts and numbers."""

import time
from types import SimpleNamespace

from snakemake_executor_plugin_harbor.core.model import JobState, Outcome, Request
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight, InFlightJob


def test_removing_a_job_does_not_search_all_jobs():
    entries = InFlight()
    made = [
        InFlightJob(SimpleNamespace(jobid=i, is_group=lambda: False), f"run/{i}", "", None, request=Request(cores=2))
        for i in range(50_000)
    ]
    for entry in made:
        entries.add(entry)
    entries.rename(made[7], "old/7")
    assert entries.get("run/7") is entries.get("old/7") is made[7]
    assert entries.requested_cores() == {Request(cores=2): 100_000}
    started = time.thread_time()
    assert all(entries.remove(entry) for entry in made)
    assert time.thread_time() - started < 2
    assert not entries.remove(made[7]) and not entries.all() and entries.requested_cores() == {}
    assert entries.get("run/7") is None and entries.get("old/7") is None


def entry(number, **more):
    return InFlightJob(SimpleNamespace(jobid=number, is_group=lambda: False), f"run/{number}", "", None, **more)


def test_a_job_that_failed_gets_the_next_attempt_and_avoids_its_node():
    in_flight, job = InFlight(), entry(1)
    assert in_flight.next_attempt("run/1") == 1
    in_flight.add(job)
    assert in_flight.remove(job, Outcome("run/1", 2, JobState.FAILED, "ada", "exit code 1", {"code": 1}), failed=True)
    assert in_flight.next_attempt("run/1") == 3 and in_flight.failed_on(job.job) == {"ada"}
    in_flight.add(job)
    assert in_flight.remove(job, Outcome("run/1", 3, JobState.SUCCEEDED, "bob", "", {"code": 0}))
    assert in_flight.failed_on(job.job) == frozenset()


def test_a_lost_attempt_says_nothing_about_its_node():
    in_flight, job = InFlight(), entry(1)
    in_flight.add(job)
    in_flight.remove(job, Outcome("run/1", 1, JobState.FAILED, "ada", "the node was lost", None), failed=True)
    assert in_flight.failed_on(job.job) == frozenset()


def test_proc_ids_are_the_lowest_free_numbers():
    in_flight, jobs = InFlight(), [entry(number) for number in range(4)]
    for job in jobs:
        in_flight.add(job)
    assert [in_flight.assign_proc_id(job) for job in jobs[:3]] == [0, 1, 2]
    assert in_flight.assign_proc_id(jobs[1]) == 1, "it stays the same"
    in_flight.remove(jobs[1])
    assert in_flight.assign_proc_id(jobs[3]) == 1
    adopted = entry(9)
    in_flight.add(adopted)
    assert in_flight.assign_proc_id(adopted, wanted=7) == 7


def test_temporary_files_are_removed_as_far_as_they_exist(tmp_path):
    file, directory = tmp_path / "file", tmp_path / "directory"
    file.touch()
    directory.mkdir()
    (directory / "inside").touch()
    entry(1, temp_files=(str(file), str(directory), str(tmp_path / "gone"))).remove_temp_files()
    assert list(tmp_path.iterdir()) == []
