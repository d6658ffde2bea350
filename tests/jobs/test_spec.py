"""The request of a job contains what a user has stated, and nothing that Snakemake has filled in by itself."""

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs.ranks import Ranks
from snakemake_executor_plugin_harbor.jobs.spec import progress_pattern, runtime_s, spec_of


def request(job):
    return spec_of(job, "id", 1, 0, ()).request


RULE = """
    rule one:
        output: "one"
        resources: {resources}
        shell: "touch {{output}}"
"""


def one(jobs, resources="a=1", **how):
    return jobs(RULE.format(resources=resources), **how)["one"]


def test_what_snakemake_fills_in_is_no_request(jobs):
    job = one(jobs, default=[])
    assert job.resources.disk_mb == 50000 and job.resources.mem_mb == 1000, "Snakemake's own guesses"
    assert (request(job).mem_mb, request(job).disk_mb) == (0, 0)


@pytest.mark.parametrize(
    ("default", "mem", "disk"),
    [
        (["mem_mb=300"], 300, 0),
        (["disk_mb=400"], 0, 400),
        (["mem='1GB'"], 1000, 0),
        (["mem_mib=1000"], 1048, 0),
        (["disk_mb=max(2*input.size_mb, 700)"], 0, 700),
        (["disk=7000 if attempt == 1 else 0"], 0, 7000),
    ],
)
def test_a_default_of_the_user_is_a_request(jobs, default, mem, disk):
    asked = request(one(jobs, default=default))
    assert (asked.mem_mb, asked.disk_mb) == (mem, disk)


@pytest.mark.parametrize("default", [None, []])
def test_what_the_rule_states_is_a_request(jobs, default):
    asked = request(one(jobs, "mem_mb=200, disk_mb=lambda wildcards, attempt: 50 * attempt", default=default))
    assert (asked.mem_mb, asked.disk_mb) == (200, 50)


def test_what_set_resources_states_is_a_request(jobs):
    from snakemake.resources import Resources

    given = {"one": Resources.parse(["disk_mb=123", "mem=2000+1"], allow_expressions=True)}
    asked = request(one(jobs, default=[], given=given))
    assert (asked.mem_mb, asked.disk_mb) == (2001, 123)


@pytest.mark.parametrize(
    ("resources", "text"),
    [("gpu='two'", "gpu='two'"), ("stall_after=1", "stall_after=1"), ("gpu=-1", "gpu=-1")],
)
def test_a_resource_that_makes_no_sense_is_named(jobs, resources, text):
    with pytest.raises(HarborError, match=text) as error:
        spec_of(one(jobs, resources), "id", 1, 0, ())
    assert "rule one" in str(error.value)


def test_node_constraint_gpus_and_time_limits_are_read(jobs):
    job = one(jobs, "node='ada', constraint='fast & big', gpu=2, stall_after=60, runtime='2h'")
    spec = spec_of(job, "id", 1, 0, ("/bin/x",))
    assert spec.request.node == "ada" and spec.request.constraint == {"fast", "big"} and spec.request.gpus == 2
    assert spec.request.needs == ("/bin/x",) and spec.stall_after == 60 and runtime_s(job) == 7200


FIVE = Ranks([f"node{i}" for i in range(5)], 2)


def test_a_rank_is_placed_by_nodes_and_tasks_per_node_as_allot_and_slurm_do(jobs):
    """proc_id = node_id * ntasks_per_node + local_id"""
    for rank in range(10):
        asked = spec_of(one(jobs, f"rank={rank}"), "id", 1, 0, (), FIVE).request
        assert (asked.node, asked.task) == (f"node{rank // 2}", rank % 2)
    assert (request(one(jobs)).node, request(one(jobs)).task) == (None, None)


@pytest.mark.parametrize(
    ("resources", "ranks", "text"),
    [
        ("rank=10", FIVE, "rank=10: the ranks are 0 to 9, because nodes=5 and --harbor-ntasks-per-node=2"),
        ("rank=13", FIVE, "--harbor-nnodes 7"),
        ("rank=-1", FIVE, "rank=-1 must be a number from 0"),
        ("rank='x'", FIVE, "rank='x' must be a number from 0"),
        ("rank=0", Ranks(["ada"]), "--harbor-ntasks-per-node 2"),
        ("rank=0, node='ada'", FIVE, "rank=0 does not go with the resource node"),
    ],
)
def test_a_rank_that_no_node_has_is_an_error_with_what_to_type(jobs, resources, ranks, text):
    with pytest.raises(HarborError) as caught:
        spec_of(one(jobs, resources), "id", 1, 0, (), ranks)
    assert "rule one: resource rank=" in str(caught.value) and text in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "text"), [("(", "not a regular expression"), ("a(.)", "1 groups"), ("(a)(b)(c)", "3 groups")]
)
def test_progress_patterns_are_checked(jobs, pattern, text):
    with pytest.raises(HarborError, match=text):
        progress_pattern(one(jobs, f"progress={pattern!r}"))
    assert progress_pattern(one(jobs, r"progress='step (\\d+) of (\\d+)'")) == r"step (\d+) of (\d+)"
