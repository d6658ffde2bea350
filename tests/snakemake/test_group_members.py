"""What the jobs of a group have as single jobs have it: limits, cancelling, progress, software, benchmarks."""

import json
import re
import signal
import time

import pytest

from tests.snakemake.harness import jobs_of, on, setting
from tests.sshd import wait_until

ALWAYS = ("--harbor-staging", "always")


def job_of(work):
    """The only job of the run, as `harbor status` has it."""
    return json.loads(work.harbor("status", "--json").stdout)["jobs"][0]


def logs(work):
    return [path.read_text() for path in (work.directory / ".snakemake" / "harbor_logs").rglob("*.log")]


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
def test_all_jobs_of_a_group_end_with_it(pool, project, how):
    """Two of them are connected, so they lead process groups of their own."""
    work = project(
        """
        rule all:
            input: "out", "beside", "rest"

        rule write:
            output: pipe("stream")
            group: "g"
            shell: "touch here.write; (trap '' INT; sleep 300) > {output}"

        rule read:
            input: "stream"
            output: "out"
            group: "g"
            shell: "touch here.read; cat {input} > {output}"

        rule beside:
            output: "beside"
            group: "g"
            shell: "touch here.beside; sleep 300; touch {output}"

        rule last:
            input: "out", "beside"
            output: "rest"
            group: "g"
            shell: "touch {output}"
        """
    )
    marker = f"group-{how}"
    run = work.start(*on(pool, "4/node1"), "--retries", "1", "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": marker})
    wait_until(lambda: len(work.files("here.*")) == 3, 30)
    assert len(jobs_of(marker)) >= 4
    if how == "cancel":
        assert "is cancelled" in work.harbor("cancel", job_of(work)["id"]).stdout
    else:
        run.signal(signal.SIGINT)
    run.wait()
    wait_until(lambda: not jobs_of(marker), 10)
    assert run.code == 1 and ("cancelled by the user" in run.text) == (how == "cancel")
    assert not (work.directory / "stream").exists() and not (work.directory / "rest").exists()


def test_the_runtimes_of_the_levels_add_up(pool, project):
    """Snakemake's smallest runtime is one minute, which lasts two seconds here."""
    work = project(
        """
        rule one:
            output: "one"
            group: "g"
            resources: runtime=1
            shell: "sleep 2.5; touch {output}"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            resources: runtime=1
            shell: "echo begun; sleep 300; touch {output}"
        """
    )
    began = time.monotonic()
    run = work.run("two", *on(pool, "2/node1"), before=setting("jobs.spec.MINUTE_S", 2.0)).expect(1)
    assert 4 < time.monotonic() - began < 30 and "killed: its runtime was over" in run.text
    assert "begun" in logs(work)[0]
    assert (work.directory / "one").exists(), "the first job is done"


def test_the_log_says_which_job_prints_and_progress_of_members_is_shown(pool, project):
    work = project(
        r"""
        rule one:
            output: "one"
            benchmark: "one.tsv"
            group: "g"
            shell: "echo first; touch {output}"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            shell: "printf '\002 3 / 4 \003\n'; until [ -e go ]; do sleep 0.1; done; echo wrong; exit 5"
        """
    )
    run = work.start("two", *on(pool, "2/node1"))
    wait_until((work.directory / "one").exists, 30)
    wait_until(lambda: job_of(work)["progress"] == {"done": 3, "total": 4}, 10)
    (work.directory / "go").touch()
    assert run.wait() == 1
    shown = work.harbor("log", job_of(work)["id"]).stdout
    lines = (
        "harbor: job one starts",
        "first",
        "harbor: job two starts",
        ".*",
        "wrong",
        "harbor: 1 of 2 jobs of the group have succeeded: 0",
        "harbor: job two failed with .*",
    )
    assert re.fullmatch("\n".join(lines) + "\n", shown)
    assert (work.directory / "one.tsv").read_text().startswith("s\t"), "the first job is done"


def test_cases_that_are_put_together(pool, project):
    """Three cases are one group. The memory that the run may use allows two of them at a time."""
    work = project(
        """
        rule all:
            input: expand("b/{i}", i=range(3))

        rule a:
            output: "a/{i}"
            resources: mem_mb=40
            shell: "echo + >> {resources.tmpdir}/LOG; sleep 0.3; echo - >> {resources.tmpdir}/LOG; touch {output}"

        rule b:
            input: "a/{i}"
            output: "b/{i}"
            shell: "touch {output}"
        """.replace("{resources.tmpdir}/LOG", str(project("", "beside").directory / "log"))
    )
    together = ("--groups", "a=g", "b=g", "--group-components", "g=3", "--resources", "mem_mb=80")
    work.run(*on(pool, "8/node1"), *together, *ALWAYS).expect()
    assert len(logs(work)) == 1 and work.files("b/*") == ["0", "1", "2"]
    running, most = 0, 0
    for line in (work.directory.parent / "beside" / "log").read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most == 2


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_benchmarks_of_members(pool, project, staging):
    """They are those of single jobs. A job that is repeated runs that often, one time after the other."""
    work = project(
        """
        rule one:
            output: "one"
            benchmark: "times/one.tsv"
            group: "g"
            shell: "sleep 0.3; head -c 60000000 /dev/zero | tail -c 50000000 | wc -c; touch {output}"

        rule two:
            input: "one"
            output: "two"
            benchmark: repeat("times/two.jsonl", 2)
            group: "g"
            shell: "echo >> {output}"
        """
    )
    work.run("two", *on(pool, "2/node1"), *staging).expect()
    head, values = (line.split("\t") for line in (work.directory / "times" / "one.tsv").read_text().splitlines())
    row = dict(zip(head, values, strict=True))
    assert 0.3 < float(row["s"]) < 30 and float(row["cpu_time"]) < 30 and 40 < float(row["max_rss"]) < 200
    rows = [json.loads(line) for line in (work.directory / "times" / "two.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all(0 < row["s"] < 30 for row in rows)
    assert (work.directory / "two").read_text() == "\n\n"
    assert not any("Building DAG" in text for text in logs(work))


def test_a_resource_that_is_not_known_yet_matters_only_if_the_command_uses_it(pool, project):
    """It depends on the size of a file that the group makes."""
    work = project(
        """
        rule one:
            output: "one.{name}"
            group: "g"
            shell: "echo 42 > {output}"

        rule unused:
            input: "one.a"
            output: "unused"
            group: "g"
            shell: "cp {input} {output}"

        rule used:
            input: "one.b"
            output: "used"
            group: "g"
            params: memory=lambda wildcards, resources: f"{resources.mem_mb}M"
            shell: "echo {params.memory} > {output}"
        """
    )
    options = (*on(pool, "2/node1"), "--default-resources", "mem_mb=max(2*input.size, 7)", *ALWAYS)
    work.run("unused", *options).expect()
    assert len(logs(work)) == 1 and "Building DAG" not in logs(work)[0]
    work.run("used", *options).expect()
    assert (work.directory / "used").read_text() == "7M\n"
    assert not any("Building DAG" in log for log in logs(work)) and len(logs(work)) == 3, "it was run in two parts"
