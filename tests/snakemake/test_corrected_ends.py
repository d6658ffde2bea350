"""A job whose command ends well, but whose outputs do not come, has failed. All commands of `harbor` say so."""

import json

import pytest

from tests.snakemake.harness import on


@pytest.mark.parametrize(
    ("staging", "command", "reason"),
    [
        ("never", "true", "outputs are missing here"),
        ("always", "true", "it has not made: out"),
        ("always", "mkfifo out", "it is a device, a pipe or a socket"),
    ],
)
def test_a_success_without_outputs_is_a_failure_in_the_journal(project, pool, staging, command, reason):
    work = project(f"""
        rule all:
            output: "out"
            shell: "{command}"
    """)
    work.run(*on(pool, "node1"), "--harbor-staging", staging, "--latency-wait", "1").expect(1)
    (job,) = json.loads(work.harbor("jobs", "--json", "--failed").stdout)["jobs"]
    assert job["state"] == "failed" and reason in job["reason"] and job["exit"] == 0
    now = json.loads(work.harbor("status", "--json").stdout)
    assert now["counts"] == {"failed": 1}
    (run,) = json.loads(work.harbor("history", "--json").stdout)["runs"]
    assert run["counts"] == {"failed": 1}
