"""A group whose commands depend on files that it makes itself is run in parts, without a Snakemake on the node."""

import json

import pytest

from tests.snakemake.crashed import AGAIN
from tests.snakemake.harness import on
from tests.sshd import wait_until

STEPS = """
    def text(wildcards, input):
        return " ".join(open(input[0]).read().split())

    rule all:
        input: "four", "beside"

    rule one:
        output: temp("one")
        group: "g"
        shell: "echo x >> TOLD; FIRST; echo 42 > {output}"

    rule two:
        input: "one"
        output: "two"
        params: number=text
        resources: mem_mb=lambda wildcards, input: 100 * len(open(input[0]).read())
        benchmark: "times/two"
        group: "g"
        shell: "echo x >> TOLD; echo {params.number} {resources.mem_mb} > {output}"

    rule beside:
        input: "one"
        output: "beside"
        group: "g"
        shell: "echo x >> TOLD; cp {input} {output}"

    rule three:
        input: "two", "one"
        output: temp("three")
        log: "logs/three"
        group: "g"
        shell: "echo x >> TOLD; cat {input} > {output}; echo said > {log}"

    rule four:
        input: "three"
        output: "four"
        params: lines=text
        group: "g"
        shell: "echo x >> TOLD; HERE; echo {params.lines} > {output}"
"""


def make(project, tmp_path, here="true", first="true"):
    """`here` is a command of the last job, and `first` one of the first job."""
    return project(STEPS.replace("HERE", here).replace("FIRST", first).replace("TOLD", str(tmp_path / "told")))


def told(tmp_path):
    path = tmp_path / "told"
    return len(path.read_text().splitlines()) if path.exists() else 0


def logs(work):
    return [path.read_text() for path in (work.directory / ".snakemake" / "harbor_logs").rglob("*.log")]


@pytest.mark.parametrize("staging", ["never", "always"])
def test_each_part_knows_what_the_one_before_has_made(pool, project, tmp_path, staging):
    work = make(project, tmp_path)
    run = work.run(*on(pool, "2/node1", "2/node2"), "--harbor-staging", staging).expect()
    here = work.directory
    assert (here / "two").read_text() == "42 300\n" and (here / "four").read_text() == "42 300 42\n"
    assert (here / "logs/three").read_text() == "said\n" and (here / "beside").read_text() == "42\n"
    assert (here / "times/two").read_text().startswith("s\t")
    assert not (here / "one").exists() and not (here / "three").exists(), "temp()"
    assert told(tmp_path) == 5 and not any("Building DAG" in text for text in logs(work))
    assert len(logs(work)) == 3, "three parts"
    assert run.text.count("Group job") == 1
    (job,) = json.loads(work.harbor("jobs", "--json").stdout)["jobs"]
    assert job["state"] == "succeeded" and job["attempts"] == 3
    assert "Nothing to be done" in work.run(*on(pool, "2/node1"), "--harbor-staging", staging).expect().text
    assert not work.files(".snakemake/scripts/*") and "Traceback" not in run.text


def test_a_failure_in_a_later_part_costs_no_earlier_job(pool, project, tmp_path):
    work = make(project, tmp_path, f"test -e {tmp_path}/go")
    options = (*on(pool, "2/node1", "2/node2"), "--harbor-staging", "always")
    run = work.run(*options).expect(1)
    assert "job four failed with exit code 1" in run.text
    assert (work.directory / "two").exists() and not (work.directory / "four").exists() and told(tmp_path) == 5
    (tmp_path / "go").touch()
    work.run(*options).expect()
    assert (work.directory / "four").read_text() == "42 300 42\n" and told(tmp_path) == 6


@pytest.mark.parametrize(("where", "staging"), [("first", "never"), ("here", "always")])
def test_a_part_survives_its_controller(pool, project, tmp_path, staging, where):
    work = make(project, tmp_path, **{where: f"until test -e {tmp_path}/go; do sleep 0.05; done"})
    options = (*on(pool, "2/node1", "2/node2"), "--harbor-staging", staging, *AGAIN)
    first = work.start(*options)
    wait_until(lambda: told(tmp_path) == (5 if where == "here" else 1), 60, "the job that waits")
    first.kill()
    again = work.start(*options)
    again.until("adopted", 40)
    (tmp_path / "go").touch()
    again.wait()
    again.expect()
    assert told(tmp_path) == 5 and (work.directory / "four").read_text() == "42 300 42\n"


@pytest.mark.parametrize("way", ["detach", "stop"])
def test_a_run_that_ends_after_a_part_loses_nothing(pool, project, tmp_path, way):
    work = make(project, tmp_path, first=f"until test -e {tmp_path}/go; do sleep 0.05; done")
    options = (*on(pool, "2/node1", "2/node2"), *AGAIN)
    run = work.start(*options)
    wait_until(lambda: told(tmp_path) == 1, 60, "the first job")
    assert work.harbor(way).returncode == 0
    if way == "detach":
        run.wait()
    (tmp_path / "go").touch()
    run.wait()
    assert run.code == 1 and told(tmp_path) == 1
    work.run(*options).expect()
    assert told(tmp_path) == 5 and (work.directory / "four").read_text() == "42 300 42\n"
