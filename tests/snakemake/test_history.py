"""What a run leaves for the days after it: each job with what it has used, and the run in the list."""

import json

import pytest

from tests.snakemake.harness import on
from tests.sshd import wait_until

pytestmark = pytest.mark.timeout(120)

RULES = """
    rule all:
        input: "busy", "two", "absent"

    rule busy:
        output: "busy"
        shell: "python3 -c 'import time; x = bytearray(80 << 20)\\nwhile time.process_time() < 0.6: pass'; "
            "touch {output}"

    rule two:
        output: "two"
        benchmark: repeat("two.tsv", 2)
        shell: "python3 -c 'import time\\nwhile time.process_time() < 0.3: pass'; touch {output}"

    rule absent:
        output: "absent"
        retries: 1
        shell: "exit 3"

    rule waits:
        output: "waits"
        shell: "sleep 60; touch {output}"
"""


def test_a_run_is_told_afterwards(project, pool):
    work = project(RULES)
    work.run(*on(pool, "2/node1"), "--keep-going").expect(1)
    found = {job["rule"]: job for job in json.loads(work.harbor("jobs", "--json").stdout)["jobs"]}
    busy, two, absent = found["busy"], found["two"], found["absent"]
    assert 0.6 <= busy["cpu_s"] < 5 and 80 <= busy["peak_mb"] < 200, "the processes that the job's shell has started"
    assert 0.6 <= two["cpu_s"] < 5, "of both repeats"
    assert (busy["exit"], busy["state"], busy["node"], busy["attempts"]) == (0, "succeeded", "node1", 1)
    assert (absent["exit"], absent["state"], absent["attempts"]) == (3, "failed", 2) and absent["cpu_s"] is not None
    assert busy["duration_s"] >= 0.6 and busy["wait_s"] is not None
    (run,) = json.loads(work.harbor("history", "--json").stdout)["runs"]
    assert (run["state"], run["succeeded"], run["failed"], run["jobs"]) == ("ended", 2, 1, 3)
    # The controller of the next run is killed before it writes how the run ended.
    second = work.start("waits", *on(pool, "2/node1"))
    wait_until(lambda: "running" in work.harbor("jobs").stdout, timeout=30)
    assert json.loads(work.harbor("history", "--json").stdout)["runs"][1]["state"] == "running"
    second.kill()
    lines = work.harbor("history").stdout.splitlines()
    assert (
        len(lines) == 3
        and lines[1].split()[3:6] == ["ended", "3", "2"]
        and lines[2].split()[3:7] == ["killed", "1", "0", "0"]
    )
    assert "exit code 3" in work.harbor("explain", "absent", "--run", run["run"]).stdout
    assert "2 of 3 jobs done" in work.harbor("status", "--run", run["run"]).stdout
