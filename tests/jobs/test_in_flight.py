"""The jobs in flight, by every id that they have."""

import time
from types import SimpleNamespace

from snakemake_executor_plugin_harbor.core.model import Request
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight, InFlightJob


def test_removing_a_job_does_not_search_all_jobs():
    entries = InFlight()
    made = [
        InFlightJob(SimpleNamespace(jobid=i), f"run/{i}", "", None, request=Request(cores=2)) for i in range(50_000)
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
