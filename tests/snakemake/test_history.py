"""What a run leaves for the days after it: each job with what it has used, and the run in the list."""

import json

import pytest

from tests.snakemake.harness import apart
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
        shell: "echo once >> starts; while [ ! -e go ]; do sleep 0.05; done; touch {output}"
"""


def test_a_run_is_told_afterwards_until_it_is_cleaned_away(project, pool, tmp_path):
    work = project(RULES)
    options = apart(pool, tmp_path, "2/node1")
    work.run(*options, "--keep-going").expect(1)
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
    second = work.start("waits", *options, "--nolock", "--rerun-incomplete")
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

    # The next run needs the journal, the log and the record of the job that goes on.
    logs = work.directory / ".snakemake/harbor_logs"
    removed = json.loads(work.harbor("clean", "--yes", "--json").stdout)
    kept = {(row["what"], row["place"]): row["kept"] for row in removed["leftovers"] if row["kept"]}
    assert removed["removed"] and "not complete" in kept["journals", "this machine"]
    assert kept["records", "node1"] == "1 jobs run"
    (left,) = json.loads(work.harbor("history", "--json").stdout)["runs"]
    assert left["state"] == "killed" and not list(logs.rglob("*.log"))
    third = work.start("waits", *options, "--nolock", "--rerun-incomplete")
    third.until("adopted", timeout=30)
    (work.directory / "go").touch()
    assert third.wait() == 0 and (work.directory / "starts").read_text() == "once\n"
    rows = json.loads(work.harbor("clean", "--yes", "--json").stdout)["leftovers"]
    assert {row["what"] for row in rows} >= {"journals", "logs"} and not any(row["kept"] for row in rows)
    assert json.loads(work.harbor("history", "--json").stdout)["runs"] == [] and not logs.exists()
    again = json.loads(
        work.harbor("clean", "--hostfile", options[-1], "--ssh-config", str(pool.ssh_config), "--json").stdout
    )
    assert again == {"removed": False, "leftovers": []}
