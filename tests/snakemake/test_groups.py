"""Groups of jobs run on one node without a Snakemake there."""

import pytest

from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.views.status import status
from tests.snakemake.harness import jobs_of, on
from tests.sshd import wait_until

ALWAYS = ("--harbor-staging", "always")
CHAIN = """
    rule all:
        input: expand("out/{i}", i=range(3))

    rule first:
        output: temp("first/{i}")
        log: "logs/{i}"
        group: "case"
        shell: "echo {wildcards.i} > {output}; echo said > {log}"

    rule second:
        input: "first/{i}"
        output: "second/{i}"
        params: word=lambda wildcards: f"case {wildcards.i}"
        group: "case"
        threads: 2
        shell: "test {threads} = 2; (cat {input}; echo '{params.word}') > {output}"

    rule third:
        input: "second/{i}"
        output: "out/{i}"
        group: "case"
        script: "third.py"
"""
THIRD = "open(snakemake.output[0], 'w').write(open(snakemake.input[0]).read() + 'third\\n')\n"


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_a_chain_per_case(pool, project, staging):
    work = project(CHAIN)
    (work.directory / "third.py").write_text(THIRD)
    run = work.run(*on(pool, "4/node1", "4/node2"), *staging).expect()
    for number in range(3):
        assert (work.directory / f"out/{number}").read_text() == f"{number}\ncase {number}\nthird\n"
        assert (work.directory / f"second/{number}").exists() and not (work.directory / f"first/{number}").exists()
        assert (work.directory / f"logs/{number}").read_text() == "said\n"
    logs = [path.read_text() for path in (work.directory / ".snakemake" / "harbor_logs").rglob("*.log")]
    assert len(logs) == 3 and not any("Building DAG" in text for text in logs), "a Snakemake ran on the node"
    assert "Nothing to be done" in work.run(*on(pool, "4/node1"), *staging).expect().text
    assert run.text.count("Finished jobid") == 3 or run.text.count("steps (") >= 3


def test_jobs_of_a_level_run_side_by_side_and_within_the_cores_of_the_group(pool, project):
    """The two jobs of the first level wait for each other. The third level has more jobs than cores."""
    work = project(
        """
        rule all:
            input: "end"

        rule pair:
            output: "pair/{i}"
            group: "all"
            shell:
                "touch here.{wildcards.i}; until [ -e here.0 -a -e here.1 ]; do sleep 0.05; done; touch {output}"

        rule end:
            input: "pair/0", "pair/1"
            output: "end"
            group: "all"
            shell: "touch {output}"
        """
    )
    work.run(*on(pool, "4/node1")).expect()
    assert (work.directory / "end").exists()


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_the_first_failure_ends_the_group_and_is_named(pool, project, staging):
    work = project(
        """
        rule one:
            output: "one/{i}"
            group: "g"
            shell: "touch {output}"

        rule two:
            input: "one/{i}"
            output: "two/{i}"
            group: "g"
            shell: "echo this is wrong; exit 7"

        rule three:
            input: "two/{i}"
            output: "three/{i}"
            group: "g"
            shell: "echo never; touch {output}"
        """
    )
    run = work.run("three/x", *on(pool, "2/node1"), *staging).expect(1)
    assert "job two:i=x failed with exit code 7, so the group ends" in run.text and "exit code 7" in run.text
    assert "this is wrong" in run.text
    log = next((work.directory / ".snakemake" / "harbor_logs").rglob("*.log")).read_text()
    assert "never" not in log
    assert not (work.directory / "three").exists() or not list((work.directory / "three").iterdir())


def test_a_group_survives_its_controller(pool, project):
    work = project(
        """
        rule one:
            output: "one"
            group: "g"
            shell: "echo one >> told; until [ -e go ]; do sleep 0.05; done; echo 1 > {output}"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            shell: "echo two >> told; cp {input} {output}"
        """
    )
    told = work.directory / "told"
    run = work.start("two", *on(pool, "2/node1"), "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": "group-crash"})
    wait_until(told.exists, 30)
    run.kill()
    again = work.start("two", *on(pool, "2/node1"), "--rerun-incomplete", "--nolock")
    again.until("adopted job")
    (work.directory / "go").touch()
    assert again.wait() == 0, again.text
    assert told.read_text() == "one\ntwo\n" and (work.directory / "two").read_text() == "1\n"
    wait_until(lambda: not jobs_of("group-crash"), 30)


@pytest.mark.parametrize("staging", [(), ALWAYS])
def test_a_file_that_snakemake_touches_exists_for_the_next_job(pool, project, staging):
    work = project(
        """
        rule one:
            output: touch("one")
            group: "g"
            shell: "true"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            shell: "test -f {input} && touch {output}"
        """
    )
    work.run("two", *on(pool, "2/node1"), *staging).expect()
    assert (work.directory / "one").exists()


def test_a_job_that_does_not_make_its_output_is_named_with_its_log(pool, project):
    work = project(
        """
        rule one:
            output: "one"
            log: "logs/one"
            group: "g"
            shell: "echo why > {log}"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            shell: "touch never; touch {output}"
        """
    )
    run = work.run("two", *on(pool, "2/node1")).expect(1)
    assert "job one has not made one, so the group ends" in run.text
    assert "its log: logs/one" in run.text
    assert not (work.directory / "never").exists()


def test_params_of_an_earlier_run_are_not_used_again(pool, project):
    """Snakemake evaluates params when it prints a job. The file is then still that of the run before."""
    work = project(
        """
        rule one:
            output: "one"
            group: "g"
            shell: "cp source {output}"

        rule two:
            input: "one"
            output: "two"
            params: number=lambda wildcards, input: open(input[0]).read().strip()
            group: "g"
            shell: "echo {params.number} > {output}"
        """
    )
    for number in ("1", "2"):
        (work.directory / "source").write_text(number)
        work.run("two", "--forceall", *on(pool, "2/node1")).expect()
        assert (work.directory / "two").read_text() == f"{number}\n"


def test_variables_of_a_group_are_in_no_command_line(pool, project):
    work = project(
        """
        envvars: "TOKEN"

        rule one:
            output: "one"
            group: "g"
            shell: "(cat /proc/*/cmdline 2> /dev/null || true) | tr '\\\\0' ' ' > {output}; test -n $TOKEN"

        rule two:
            input: "one"
            output: "two"
            group: "g"
            shell: "echo $TOKEN > {output}"
        """
    )
    work.run("two", *on(pool, "2/node1"), env={"TOKEN": "se" + "cret-97531"}).expect()
    assert (work.directory / "two").read_text() == "secret-97531\n"
    assert "secret-97531" not in (work.directory / "one").read_text()


def test_a_group_that_is_done_counts_as_one_job_after_a_checkpoint(pool, project):
    work = project("""
        rule all:
            input: lambda wildcards: checkpoints.split.get() and ["many/0", "many/1"]

        rule first:
            output: "first"
            group: "g"
            shell: "echo > {output}"

        rule second:
            input: "first"
            output: "second"
            group: "g"
            shell: "echo > {output}"

        checkpoint split:
            input: "second"
            output: "split"
            shell: "echo > {output}"

        rule many:
            output: "many/{i}"
            shell: "echo > {output}"
    """)
    work.run(*on(pool, "node1")).expect()
    now = status(open_run(work.directory))
    assert (now["counts"], now["total"]) == ({"succeeded": 4}, 4)
