"""A group that fails keeps what those of its jobs have made that had succeeded."""

from pathlib import Path

import pytest

from tests.snakemake.harness import on

ALWAYS = ("--harbor-staging", "always")


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_a_retry_runs_only_what_is_not_done_and_long_commands_leave_no_file(pool, project, staging):
    """The command of the second job is longer than one argument can be. The third job fails once. A job outside the
    group reads a temporary file of the second one, and none outside reads that of the first one.
    """
    work = project(
        """
        rule zero:
            output: temp("zero")
            group: "g"
            shell: "touch {output}"

        rule one:
            input: "zero"
            output: temp("one it's")
            benchmark: "one.tsv"
            group: "g"
            resources: stage_out="told"
            params: text="x" * 150000
            shell: "echo one >> told; echo $0 > place; : {params.text}; touch {output:q}"

        rule two:
            input: "one it's"
            output: protected("two")
            group: "g"
            resources: tried=lambda wildcards, attempt: attempt, stage_out="told"
            shell: "cat {input:q}; echo two.{resources.tried} >> told; test {resources.tried} = 2 && touch {output}"

        rule three:
            input: "one it's", "two"
            output: "three"
            shell: "ls {input:q} > {output}"
        """
    )
    work.run("three", "--retries", "1", *on(pool, "2/node1"), *staging).expect()
    assert (work.directory / "told").read_text().split() == ["one", "two.1", "two.2"]
    assert (work.directory / "one.tsv").read_text().startswith("s\t")
    assert (work.directory / "three").exists() and not (work.directory / "one it's").exists()
    assert not (work.directory / "two").stat().st_mode & 0o222
    if not staging:
        script = Path((work.directory / "place").read_text().strip())
        assert script.suffix == ".sh" and not script.exists()


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_what_is_done_of_a_failed_group_stays_for_the_next_run(pool, project, staging):
    """One job of the second level has succeeded, and one has failed."""
    work = project(
        """
        import os

        rule all:
            input: "end"

        rule first:
            output: "first/{i}"
            group: "g"
            resources: stage_out="told"
            shell: "echo first.{wildcards.i} >> told; touch {output}"

        rule second:
            input: "first/{i}"
            output: "second/{i}"
            log: "logs/{i}"
            group: "g"
            resources: stage_out="told", stage_in=lambda wildcards: "source" if os.path.exists("source") else ""
            shell:
                "echo second.{wildcards.i} >> told; echo said > {log};"
                " test {wildcards.i} = 0 -o -e source && touch {output}"

        rule end:
            input: "second/0", "second/1"
            output: "end"
            group: "g"
            resources: stage_out="told"
            shell: "echo end >> told; touch {output}"
        """
    )
    run = work.run(*on(pool, "2/node1"), *staging, "--cores", "1").expect(1)
    assert "job second:i=1 failed with exit code 1" in run.text
    assert sorted(path.name for path in (work.directory / "first").iterdir()) == ["0", "1"]
    assert [path.name for path in (work.directory / "second").iterdir()] == ["0"]
    told = (work.directory / "told").read_text().split()
    assert sorted(told) == ["first.0", "first.1", "second.0", "second.1"]
    (work.directory / "source").touch()
    work.run(*on(pool, "2/node1"), *staging).expect()
    assert (work.directory / "told").read_text().split() == [*told, "second.1", "end"]
