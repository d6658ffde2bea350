"""Jobs that must wait do not keep others from idle slots, and what waits says so."""

import json
import re

from tests.snakemake.harness import on, setting
from tests.sshd import wait_until

HEAD_OF_LINE = """
    rule all:
        input: expand("deep/{i}", i=range(12)), expand("plain/{i}", i=range(6))

    rule deep:
        output: "deep/{i}"
        priority: 5
        resources: DEMAND
        shell: "until [ -e go ]; do sleep 0.1; done; touch {output}"

    rule plain:
        output: "plain/{i}"
        shell: "touch {output}"
"""


def hostfile(project, lines):
    path = project.directory / "hosts.yaml"
    path.write_text(lines)
    return str(path)


def check_that_plain_jobs_run(work, run):
    try:
        wait_until(lambda: len(work.files("plain/*")) == 6, 60, "plain jobs, while the deep ones wait")
        assert not work.files("deep/*")
    finally:
        (work.directory / "go").touch()
    run.wait()
    run.expect(0)


def test_jobs_with_a_tag_do_not_keep_plain_ones_from_an_idle_node(project, pool):
    work = project(HEAD_OF_LINE.replace("DEMAND", 'constraint="gpu"'))
    hosts = hostfile(work, "node1: {slots: 1, tags: [gpu]}\nnode2: {slots: 2}\n")
    check_that_plain_jobs_run(work, work.start(*on(pool)[:-2], "--harbor-hostfile", hosts, "--scheduler", "harbor"))


def test_jobs_that_wait_for_a_licence_do_not_keep_plain_ones_from_idle_slots(project, pool):
    work = project(HEAD_OF_LINE.replace("DEMAND", "licence=1"))
    options = (*on(pool, "2/node1"), "--resources", "licence=1", "--scheduler", "harbor")
    check_that_plain_jobs_run(work, work.start(*options))


def test_what_waits_says_so_in_the_log_and_explain_answers_for_every_job(project, pool):
    """The greedy scheduler hands everything over."""
    work = project(
        """
        rule all:
            input: expand("out/{i}", i=range(120)), expand("big/{i}", i=range(5))

        rule one:
            output: "out/{i}"
            shell: "until [ -e go ]; do sleep 0.1; done; touch {output}"

        rule big:
            output: "big/{i}"
            resources: mem_mb=100
            shell: "touch {output}"
        """
    )
    hosts = hostfile(work, "node1: {slots: 1, mem_mb: 100000000}\n")
    options = (*on(pool)[:-2], "--harbor-hostfile", hosts, "--scheduler", "greedy", "--harbor-min-free-mem-mb", "1")
    run = work.start(*options, before=setting("session.waiting_notices.LONG_S", 5.0))
    try:
        run.until("the host file gives node node1 100000000 MiB of memory, but it has", 30)
        run.until(r"harbor: \d+ jobs wait: node node1 has 0 of 1 slots free, the job needs 1 +# big, one: ", 60)
        jobs = [job for job in json.loads(work.harbor("status", "--json").stdout)["jobs"] if job["state"] == "queued"]
        assert len(jobs) == 124
        assert {job["reason"] for job in jobs} == {"node node1 has 0 of 1 slots free, the job needs 1"}
        assert "0 of 1 slots free" in work.harbor("explain", jobs[-1]["id"]).stdout
    finally:
        (work.directory / "go").touch()
    run.wait(90)
    run.expect(0)
    assert len(re.findall(r"harbor: \d+ jobs? waits?", run.text)) == 1
