"""Jobs by the names that users give them."""

import pytest

from snakemake_executor_plugin_harbor.core.job_names import (
    NamedJob,
    are_one_case,
    full_name,
    last_begun,
    listing,
    matching,
    suggestions,
    with_name,
)

JOBS = [
    NamedJob("1", "slow_run", {"case": "c09"}, "succeeded", "r/1", 5.0),
    NamedJob("2", "slow_post", {"case": "c09"}, "running", "r/2", 9.0),
    NamedJob("3", "slow_run", {"case": "c10"}, "queued", "r/3"),
    NamedJob("4", "fast_run", {"case": "c10"}, "queued", "r/4"),
    NamedJob("5", "grid_run", {"case": "size=100_seed=1"}, "queued", "r/5"),
    NamedJob("6", "map", {"sample": "a", "lane": "2"}, "failed", "r/6"),
    NamedJob("7", "sort", {"sample": "a", "lane": "2"}, "queued", "r/7"),
    NamedJob("8", "map", {"sample": "a", "lane": "12"}, "running", "r/8"),
    NamedJob("9", "plot", {}, "queued", "r/9"),
    NamedJob("10", "odd", {"x": "1,2"}, "queued", "r/10"),
    NamedJob("11", "ad-hoc", {"run": "8"}, "queued", "r/11"),
    NamedJob("21", "both_run+both_post", {"case": "d01"}, "running", "r/21", others=("22",)),  # a group
]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("1", "1"),
        ("1.2", "1"),
        ("1.x", ""),
        ("r/1", "1"),
        ("slow_run", "1 3"),
        ("c09", "1 2"),
        ("case=c09", "1 2"),
        ("both_run", "21"),
        ("22", "21"),
        ("22.1", "21"),
        ("both_post:d01", "21"),
        ("both_run+both_post:d01", "21"),
        ("d01", "21"),
        ("both", ""),
        ("slow_run:c09", "1"),
        ("slow_run:case=c09", "1"),
        ("fast_run:c09", ""),
        ("c10", "3 4"),
        ("size=100_seed=1", "5"),
        ("case=size=100_seed=1", "5"),
        ("grid_run:size=100_seed=1", "5"),
        ("size=100", ""),
        ("a", "6 7 8"),
        ("lane=2", "6 7"),
        ("sample=a,lane=2", "6 7"),
        ("map:sample=a,lane=2", "6"),
        ("map:a,12", "8"),
        ("map:", ""),
        ("2", "2"),
        ("lane=12", "8"),
        ("12", "8"),
        ("plot", "9"),
        ("plot:", ""),
        ("1,2", "10"),
        ("8", "8"),
        ("run=8", "11"),
        ("", ""),
        (":c09", ""),
        ("c0", ""),
    ],
)
def test_a_name_finds_these_jobs(name, numbers):
    assert [job.number for job in matching(JOBS, name)] == numbers.split()


def test_an_empty_name_is_nobodys():
    """The controller does not know the ids of jobs that were not handed over. `harbor cancel "$UNSET"` ended all."""
    assert matching([NamedJob("1", "slow_run", {"case": "c09"})], "") == []


def test_a_number_may_be_a_case_too():
    assert [job.number for job in with_name(JOBS, "8")] == ["11"]


def test_every_job_has_a_name_of_its_own():
    for job in JOBS:
        assert matching(JOBS, full_name(job)) == [job]


@pytest.mark.parametrize(
    ("name", "one_case", "last"),
    [
        ("c09", True, "2"),  # run and post of one sweep
        ("slow_run:c09", True, "1"),
        ("c10", False, None),  # two sweeps have a case of this name
        ("slow_run", False, None),
        ("lane=2", True, "6"),  # rules of a Snakefile without sweeps, and the second one has not begun
        ("a", False, None),
        ("plot", True, "9"),
        ("d01", True, "21"),
    ],
)
def test_the_steps_of_one_case_belong_together(name, one_case, last):
    found = matching(JOBS, name)
    assert are_one_case(found) is one_case
    assert not one_case or last_begun(found).number == last


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("c90", ["c10", "c09"]),
        ("slow_rnu", ["slow_run"]),
        ("both_pots", ["both_post"]),
        ("slow_run:c9", ["slow_run:c09"]),
        ("size=100", ["size=100_seed=1"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_a_wrong_name_has_suggestions(name, meant):
    assert suggestions(JOBS, name)[: len(meant) or None] == meant


def test_a_list_of_jobs_is_a_table_and_has_an_end():
    assert listing(matching(JOBS, "c10")).splitlines() == [
        "  3  slow_run case=c10  queued",
        "  4  fast_run case=c10  queued",
    ]
    many = [NamedJob(str(i), "r", {"case": f"c{i}"}, "queued") for i in range(50)]
    assert listing(many).splitlines()[20:] == ["  and 30 more"]
