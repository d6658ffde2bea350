"""Pipes and services connect jobs of a group without a Snakemake on the node."""

import os

import pytest

from tests.snakemake.harness import on

ALWAYS = ("--harbor-staging", "always")


def logs(work):
    return [path.read_text() for path in (work.directory / ".snakemake" / "harbor_logs").rglob("*.log")]


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_pipes_and_services_connect_jobs_on_one_node(pool, project, staging):
    """There is a job before them and one after them. One job reads two pipes, and one is a script. A job that uses the
    service reads what another one has made with it.
    """
    work = project(
        """
        rule all:
            input: "end", "used.2"

        rule source:
            output: temp("source")
            group: "g"
            shell: "seq 20000 > {output}"

        rule spread:
            input: "source"
            output: pipe("streams/{i}"), "size.{i}"
            group: "g"
            shell: "wc -l < {input} > {output[1]}; cat {input} > {output[0]}"

        rule join:
            input: "streams/0", "streams/1"
            output: pipe("joined")
            group: "g"
            shell: "cat {input} > {output}"

        rule count:
            input: "joined"
            output: "counted"
            group: "g"
            script: "count.py"

        rule end:
            input: "counted"
            output: "end"
            group: "g"
            shell: "cp {input} {output}"

        rule serve:
            output: service("port")
            shell: "trap 'exit 1' TERM; sleep 0.3; echo here > {output}; sleep 300 & wait"

        rule use:
            input: "port"
            output: "used.1"
            shell: "cat {input} > {output}; sleep 0.3; echo again >> {output}"

        rule use_again:
            input: "port", "used.1"
            output: "used.2"
            shell: "cat {input} > {output}"
        """
    )
    (work.directory / "count.py").write_text(
        "lines = open(snakemake.input[0]).readlines()\nprint(len(lines), file=open(snakemake.output[0], 'w'))\n"
    )
    # Of an earlier run that was killed.
    os.mkfifo(work.directory / "joined")
    work.run(*on(pool, "8/node1", "8/node2"), *staging).expect()
    assert (work.directory / "end").read_text() == "40000\n"
    assert (work.directory / "used.2").read_text() == "here\nhere\nagain\n"
    assert work.files("size.*") == ["size.0", "size.1"] and not work.files("streams/*")
    assert not any((work.directory / name).exists() for name in ("joined", "port", "source"))
    assert len(logs(work)) == 2 and not any("Building DAG" in text for text in logs(work))
    assert "Nothing to be done" in work.run(*on(pool, "8/node1"), *staging).expect().text


def test_the_reader_that_has_failed_is_named_and_a_retry_makes_new_pipes(pool, project):
    work = project(
        """
        rule write:
            output: pipe("stream")
            shell: "yes > {output} || test $? = 141"

        rule read:
            input: "stream"
            output: "out"
            resources: tried=lambda wildcards, attempt: attempt
            shell: "head -n 1 {input} > {output}; test {resources.tried} = 2 || exit 3"
        """
    )
    run = work.run("out", "--retries", "1", *on(pool, "4/node1")).expect()
    assert "job read failed with exit code 3, so the group ends" in run.text
    assert (work.directory / "out").read_text() == "y\n" and not (work.directory / "stream").exists()
