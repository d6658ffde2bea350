"""The hash of a job is equal in every process, and differs after any change that the user can make."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.jobs.job_hash import job_hash, stable


class Named(list):
    """Snakemake's Namedlist, as far as the hash looks at it."""

    def _allitems(self):
        return [(None, item) for item in self]


def job(**changes):
    rule = {"name": "one", "run_func_src": None, "shellcmd": "cmd", "script": None, "wrapper": None, "notebook": None}
    rule["workflow"] = SimpleNamespace(
        sourcecache=SimpleNamespace(runtime_cache_path=changes.pop("cache", "/c"), runtime_cache=None)
    )
    rule |= {key: changes.pop(key) for key in list(changes) if key in rule}
    facts = {
        "rule": SimpleNamespace(**rule),
        "params": Named(["p"]),
        "input": ["in"],
        "output": ["out"],
        "log": ["log"],
        "benchmark": None,
        "wildcards_dict": {"w": "1"},
        "is_group": lambda: False,
    }
    return SimpleNamespace(**(facts | changes))


CHANGES = [
    {"name": "two"},
    {"shellcmd": "cmd2"},
    {"run_func_src": "print()"},
    {"script": "x.py"},
    {"wrapper": "w"},
    {"params": Named(["q"])},
    {"params": Named([])},
    {"input": ["in", "in2"]},
    {"input": ["in in2"]},
    {"output": ["out2"]},
    {"log": []},
    {"benchmark": "b"},
    {"wildcards_dict": {"w": "2"}},
    {"wildcards_dict": {"v": "1"}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_any_change_makes_another_job(change):
    assert job_hash(job(**change), "d") != job_hash(job(), "d") == job_hash(job(), "d")


def test_the_directory_of_the_source_cache_makes_no_other_job():
    """It is another one in each run, and part of the paths of scripts and params from elsewhere."""
    one, other = (
        job(cache=path, params=Named([f"{path}/x.py"]), script=f"{path}/s.py") for path in ("/tmp/a", "/tmp/b")
    )
    assert job_hash(one, "d") == job_hash(other, "d")


def test_another_directory_makes_another_job():
    assert job_hash(job(), "d") != job_hash(job(), "e")


def test_a_group_is_its_members_in_any_order():
    one, two = job(), job(name="two")
    groups = [SimpleNamespace(jobs=jobs, is_group=lambda: True) for jobs in ([one, two], [two, one], [one])]
    hashes = [job_hash(group, "d") for group in groups]
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_a_function_reads_from_a_file_of_the_group_makes_no_other_group():
    """The file may exist when one controller makes the hash, and be missing when the next one does."""

    def group(params):
        rule = SimpleNamespace(**vars(job().rule), params=Named([lambda wildcards, input: Path(input[0]).read_text()]))
        later = job(input=["out"], output=["end"], params=Named(params))
        later.rule = rule
        return SimpleNamespace(jobs=[job(), later], is_group=lambda: True)

    assert job_hash(group(["42"]), "d") == job_hash(group(["<TBD>"]), "d")


class Plain:
    """Its repr is an address."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"b", "a"}, {"a", "b"}),
        ({"x": 1, "y": {2, 1}}, {"y": {1, 2}, "x": 1}),
        (frozenset({1, 2}), {2, 1}),
        (Plain(), Plain()),
        ([Plain(), {"k": {3, 1}}], [Plain(), {"k": {1, 3}}]),
        (lambda: [x * 2 for x in "ab"], lambda: [x * 2 for x in "ab"]),
    ],
)
def test_values_that_are_equal_read_the_same(one, other):
    assert stable(one) == stable(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, "1"),
        ([1, 2], [12]),
        (None, "None"),
        ({"a": 1}, {"a": 2}),
        (b"a", "a"),
        (lambda: [1 for x in "a"], lambda: [2 for x in "a"]),
    ],
)
def test_values_that_differ_read_differently(one, other):
    assert stable(one) != stable(other)


def test_it_is_the_same_in_another_process_with_other_hash_seeds_and_from_another_directory(tmp_path):
    code = """
        from snakemake_executor_plugin_harbor.jobs.job_hash import job_hash
        from tests.jobs.test_job_hash import Named, job
        print(job_hash(job(params=Named([{"a", "b", "c"}, {"k": {"x", "y"}}])), "d"))
    """
    root = str(Path(__file__).parents[2])
    said = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=where,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, where in (("1", root), ("2", str(tmp_path)))
    }
    assert len(said) == 1
