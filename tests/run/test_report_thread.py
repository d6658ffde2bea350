"""ReportThread with a real thread."""

import threading
from collections import Counter

import pytest

from snakemake_executor_plugin_harbor.core.model import JobState, Outcome
from snakemake_executor_plugin_harbor.run.report_thread import ReportThread
from tests.sshd import wait_until


class Snakemake:
    """Takes reports; an end in `missing` is not yet to be taken."""

    def __init__(self):
        self.missing = set()
        self.asked = Counter()
        self.taken = []
        self.batches = 0

    def report(self, outcome):
        self.asked[outcome.job] += 1
        if outcome.job in self.missing:
            return False
        self.taken.append(outcome.job)
        return True

    def batch_reported(self):
        self.batches += 1


@pytest.fixture
def reports():
    listener = Snakemake()
    reporter = ReportThread(listener)
    thread = threading.Thread(target=reporter.run, daemon=True)
    thread.start()
    yield listener, reporter
    reporter.stop()
    thread.join(10)
    assert not thread.is_alive()


def ends(*jobs):
    return [Outcome(job, 1, JobState.SUCCEEDED, "a") for job in jobs]


def test_reports_are_made_in_order(reports):
    listener, reporter = reports
    for i in range(50):
        reporter.put(ends(f"{i}"))
    wait_until(lambda: len(listener.taken) == 50, 10, "the reports")
    assert listener.taken == [f"{i}" for i in range(50)] and listener.batches <= 50


def test_missing_outputs_of_one_job_delay_nobody_else(reports):
    listener, reporter = reports
    listener.missing = {"late"}
    reporter.put(ends("late", "1"))
    wait_until(lambda: listener.taken == ["1"], 5, "the other job of the batch")
    for i in range(2, 30):
        reporter.put(ends(str(i)))
    wait_until(lambda: len(listener.taken) == 29, 10, "the other jobs")
    wait_until(lambda: listener.asked["late"] > 3, 10, "more questions")
    listener.missing.clear()
    wait_until(lambda: listener.taken[-1] == "late", 10, "the late one")
    assert Counter(listener.taken)["late"] == 1
