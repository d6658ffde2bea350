"""A class of waiting jobs: the order of its jobs, and the offers of nodes."""

from snakemake_executor_plugin_harbor.core.feasibility import Refusal
from snakemake_executor_plugin_harbor.core.job import Job
from snakemake_executor_plugin_harbor.core.job_class import JobClass, Offers
from snakemake_executor_plugin_harbor.core.model import JobSpec, Request


def rank(cores_left, name):
    return (False, -cores_left, 0, name)


def test_the_best_offer_is_the_latest_one_of_a_node():
    offers = Offers()
    offers.add("a", rank(4.0, "a"), 1)
    offers.add("b", rank(2.0, "b"), 2)
    assert offers.best() == (rank(4.0, "a"), "a")
    offers.add("a", rank(1.0, "a"), 3)
    assert offers.best() == (rank(2.0, "b"), "b")
    offers.withdraw("b")
    assert offers.best() == (rank(1.0, "a"), "a") == offers.best(), "an offer stays in place"
    offers.withdraw("a")
    assert offers.best() is None and not offers.heap, "outdated offers are removed"


def test_the_first_job_has_the_lowest_rank_and_jobs_that_left_are_skipped():
    job_class = JobClass(1, Request(), frozenset(), Refusal({}))
    jobs = [Job(JobSpec(f"run/{i}", Request(), rule=rule, depth=i), i) for i, rule in enumerate("rsrs")]
    for job in jobs:
        job_class.add(job, job.order)

    def by_depth(job):
        return (0, 0.0, -job.spec.depth, job.order)

    assert job_class.first(by_depth) is jobs[3]
    jobs[3].queue_entry = None
    assert job_class.first(by_depth) is jobs[2]
    assert set(map(id, job_class.jobs())) == set(map(id, jobs[:3]))
