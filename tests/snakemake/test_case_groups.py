"""The steps of a case are one group: one node runs them, and a failure of the last one costs no other."""

import csv
import json
import re
from pathlib import Path

import pytest

from tests.snakemake.harness import on
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
SWEEP = ("--snakefile", str(ROOT / "workflow" / "Snakefile"))
CONFIG = """
sweeps:
  short:
    template: template
    cases: [{n: 1}, {n: 2}, {n: 3}]
    pre: "tr a b < text > changed"
    run: "date +%s.%N > ran; wc -c < changed > size"
    post: "test {n} != WRONG && echo size,ran > r.csv && echo $(cat size),$(cat ran) >> r.csv"
    result: r.csv
"""


def rows(work, name):
    with (work.directory / f"results/short/{name}.csv").open(newline="") as f:
        return list(csv.DictReader(f))


def jobs(work):
    return {job["wildcards"]["case"]: job for job in json.loads(work.harbor("status", "--json").stdout)["jobs"]}


@pytest.mark.parametrize("staging", ["auto", "always"])
def test_one_node_runs_all_steps_of_a_case_and_what_is_done_stays(pool, project, staging):
    work = project("")
    (work.directory / "template").mkdir()
    (work.directory / "template" / "text").write_text("banana")
    (work.directory / "config").mkdir()
    config = work.directory / "config" / "config.yaml"
    config.write_text(CONFIG.replace("WRONG", "2"))
    options = (*SWEEP, *on(pool, "2/node1", "2/node2"), "--harbor-staging", staging, "--keep-going")
    run = work.run(*options).expect(1)
    found = jobs(work)
    assert len(found) == 3 and {job["rule"] for job in found.values()} == {"short_run+short_post"}
    assert sorted(job["state"] for job in found.values()) == ["failed", "succeeded", "succeeded"]
    assert [row["case"] for row in rows(work, "partial")] == ["n=1", "n=3"]
    assert [(row["case"], row["step"]) for row in rows(work, "failed")] == [("n=2", "post")]
    assert "job short_post:case=n=2 failed with exit code 1" in work.harbor("log", "short_post:n=2").stdout
    for number in re.findall(r"rule short_(?:run|post):\n +jobid: (\d+)", run.text):
        assert "job short_post:case=n=2 failed" in work.harbor("log", number).stdout, "the number of any job of it"
    kept = work.directory / "results" / "short" / "cases" / "n=2"
    assert (kept / "changed").read_text() == "bbnbnb" and not (kept / "r.csv").exists()
    ran = {path: path.stat().st_mtime_ns for path in work.directory.glob("results/short/cases/*/ran")}

    config.write_text(CONFIG.replace("WRONG", "9"))
    work.run(*options).expect()
    assert {job["rule"] for job in jobs(work).values()} == {"short_post"}
    assert {path: path.stat().st_mtime_ns for path in ran} == ran, "no command ran again"
    assert all(row["size"] == "6" for row in rows(work, "results")) and len(rows(work, "results")) == 3
    assert "Nothing to be done" in work.run(*options).expect().text


def test_a_retry_runs_only_the_step_that_has_failed(pool, project):
    work = project("")
    (work.directory / "template").mkdir()
    (work.directory / "config").mkdir()
    (work.directory / "config" / "config.yaml").write_text(
        """
sweeps:
  short:
    template: template
    cases: [{n: 1}]
    run: "echo run >> ../../../../told"
    post: "echo post >> ../../../../told; mkdir ../../../../second && exit 1; (echo y; echo 1) > r.csv"
    result: r.csv
"""
    )
    work.run(*SWEEP, *on(pool, "2/node1", "2/node2"), "--retries", "1").expect()
    assert (work.directory / "told").read_text().split() == ["run", "post", "post"]


def test_a_case_that_is_cancelled_while_it_is_processed_keeps_its_run(pool, project):
    work = project("")
    (work.directory / "template").mkdir()
    (work.directory / "template" / "text").write_text("banana")
    (work.directory / "config").mkdir()
    wait = f"touch {work.directory}/waits; until [ -e {work.directory}/go ]; do sleep 0.05; done; "
    config = CONFIG.replace('post: "', f'post: "{wait}').replace("[{n: 1}, {n: 2}, {n: 3}]", "[{n: 1}]")
    (work.directory / "config" / "config.yaml").write_text(config)
    options = (*SWEEP, *on(pool, "2/node1"))
    first = work.start(*options)
    wait_until((work.directory / "waits").exists, 60, "the post-processor")
    assert work.harbor("cancel", "short_post:n=1").returncode == 0
    first.wait()
    first.expect(1)
    assert jobs(work)["n=1"]["state"] == "cancelled"
    ran = work.directory / "results/short/cases/n=1/ran"
    before = ran.stat().st_mtime_ns
    (work.directory / "go").touch()
    work.run(*options).expect()
    assert ran.stat().st_mtime_ns == before and [row["size"] for row in rows(work, "results")] == ["6"]
