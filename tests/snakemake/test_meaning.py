"""Snakemake behaves with jobs in harbor's queue as with its local executor and as many slots."""

import re
import threading
import time
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir, on


def local(cores: int) -> list[str]:
    return ["--executor", "local", "--cores", str(cores), "--scheduler", "greedy"]


FAILING = """
    rule all:
        input: expand("out/{i}", i=range(30))

    rule one:
        output: "out/{i}"
        priority: lambda wildcards: 100 - int(wildcards.i)
        shell:
            "echo {wildcards.i} >> started; "
            "if [ {wildcards.i} = 0 ]; then sleep 0.5; exit 3; fi; sleep 1.5; touch {output}"
"""


@pytest.mark.parametrize("scheduler", ["harbor", "greedy"])
def test_one_failure_lets_only_running_jobs_finish(project, pool, scheduler):
    work = project(FAILING)
    run = work.run(*on(pool, "2/node1"), "--scheduler", scheduler).expect(1)
    assert "exit code 3" in run.text
    started = (work.directory / "started").read_text().split()
    assert len(started) <= 3, f"jobs were started after the failure: {started}"
    assert len(work.files("out/*")) == len(started) - 1
    again = project(FAILING.replace("exit 3", "true"), "mended")
    again.run(*on(pool, "8/node1")).expect(0)


def test_keep_going_runs_the_rest_and_retries_are_counted(project, pool):
    work = project(
        """
        rule all:
            input: expand("out/{i}", i=range(6))

        rule one:
            output: "out/{i}"
            retries: 2
            resources: mem_mb=lambda wildcards, attempt: 10 * attempt
            shell:
                "echo {wildcards.i} {resources.mem_mb} $HARBOR_ATTEMPT >> started; "
                "[ {wildcards.i} != 0 ] && touch {output}"
        """
    )
    work.run(*on(pool, "4/node1"), "--keep-going").expect(1)
    lines = (work.directory / "started").read_text().splitlines()
    assert sorted(line for line in lines if line.startswith("0")) == ["0 10 1", "0 20 2", "0 30 3"]
    assert len(work.files("out/*")) == 5


CHAINS = """
    rule all:
        input: expand("c/{i}", i=range(40))

    rule first:
        output: temp("a/{i}")
        shell: "touch {output}"

    rule second:
        input: "a/{i}"
        output: temp("b/{i}")
        shell: "touch {output}"

    rule third:
        input: "b/{i}"
        output: "c/{i}"
        shell: "touch {output}"
"""


def most_alive(work: Workdir, *options: str) -> int:
    """Return the largest number of temp() files that existed at once."""
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.is_set():
            most = max(most, len(work.files("a/*")) + len(work.files("b/*")))
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work.run(*options).expect(0)
    finally:
        ended.set()
        watcher.join()
    return most


def test_chains_over_temp_files_keep_no_more_alive_than_local_does(project, pool):
    ours = most_alive(project(CHAINS, "ours"), *on(pool, "2/node1"), "--scheduler", "harbor")
    theirs = most_alive(project(CHAINS, "theirs"), *local(2))
    assert ours <= theirs + 2


def test_a_job_that_no_node_can_hold_is_an_error_before_any_job(project, pool):
    work = project(
        """
        rule all:
            input: "small", "big"

        rule small:
            output: "small"
            shell: "touch {output}"

        rule big:
            output: "big"
            resources: mem_mb=10**9
            shell: "touch {output}"
        """
    )
    run = work.run(*on(pool, "2/node1", "4/node2")).expect(1)
    for text in ("rule big", "node1 has ", " MiB of memory, the job needs 1000000000", "node2 has "):
        assert text in run.text
    assert not (work.directory / "small").exists() and "Traceback" not in run.text


def test_why_a_group_cannot_be_placed_is_said(project, pool, tmp_path):
    """Each of its jobs can be placed, but two of them may run side by side."""
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("node1: {slots: 2, gpus: 1}\n")
    work = project("""
        rule read:
            input: "first/1", "first/2"
            output: "out"
            group: "g"
            shell: "cat {input} > {output}"

        rule write:
            output: "first/{i}"
            group: "g"
            resources: gpu=1
            shell: "echo > {output}"
    """)
    run = work.run(*on(pool)[:-2], "--harbor-hostfile", str(hosts)).expect(1)
    assert re.search("^group .*: harbor: attempt 1: no node of the pool can ever hold it:", run.text, re.MULTILINE)
    assert "node1" in run.text and "GPU" in run.text


def test_pins_constraints_and_gpus_go_where_they_must(project, pool, tmp_path):
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("node1: {slots: 2}\nnode2: {slots: 2, tags: [big], gpus: 2}\n")
    work = project(
        """
        rule all:
            input: expand("pin/{i}", i=range(3)), expand("big/{i}", i=range(3)), expand("gpu/{i}", i=range(4))

        rule pin:
            output: "pin/{i}"
            resources: node="node1"
            shell: "echo $HARBOR_NODE_NAME > {output}"

        rule big:
            output: "big/{i}"
            resources: constraint="big"
            shell: "echo $HARBOR_NODE_NAME > {output}"

        rule gpu:
            output: "gpu/{i}"
            resources: gpu=1
            shell: "echo $CUDA_VISIBLE_DEVICES > {output}; sleep 0.3"
        """
    )
    options = ["--executor", "harbor", "--jobs", "100", "--harbor-hostfile", str(hosts)]
    work.run(*options, "--harbor-ssh-config", str(pool.ssh_config)).expect(0)
    read = {path: path.read_text().strip() for path in work.directory.glob("*/[0-9]")}
    assert {text for path, text in read.items() if path.parent.name == "pin"} == {"node1"}
    assert {text for path, text in read.items() if path.parent.name == "big"} == {"node2"}
    assert {text for path, text in read.items() if path.parent.name == "gpu"} <= {"0", "1"}


def test_ids_are_unique_among_running_jobs(project, pool):
    work = project(
        """
        rule all:
            input: expand("out/{i}", i=range(12))

        rule one:
            output: "out/{i}"
            shell:
                "ln -s x ids/$HARBOR_NODE_NAME.$HARBOR_LOCAL_ID && ln -s x procs/$HARBOR_PROC_ID && sleep 0.3 && "
                "rm ids/$HARBOR_NODE_NAME.$HARBOR_LOCAL_ID procs/$HARBOR_PROC_ID && touch {output}"
        """
    )
    for name in ("ids", "procs"):
        (work.directory / name).mkdir()
    work.run(*on(pool, "3/node1", "3/node2")).expect(0)
    assert work.files("ids/*") == [] == work.files("procs/*")


def test_the_command_factory_gets_the_place_and_its_errors_are_clear(project, pool, tmp_path):
    factory = tmp_path / "factory.py"
    factory.write_text(
        "def wrap(c):\n    return f'echo {c.node_name} {c.local_id} {c.threads} >> wrapped; {c.command}'\n"
        "def broken(c):\n    raise ValueError('no such thing')\n"
    )
    work = project('rule all:\n    output: "x"\n    shell: "touch {output}"\n')
    work.run(*on(pool, "node1"), "--harbor-command-factory", f"{factory}:wrap").expect(0)
    assert (work.directory / "wrapped").read_text() == "node1 0 1\n"
    (work.directory / "x").unlink()
    run = work.run(*on(pool, "node1"), "--harbor-command-factory", f"{factory}:broken").expect(1)
    assert "no such thing" in run.text and "factory.py:4" in run.text and not (work.directory / "x").exists()


def test_logs_progress_and_the_story_are_there(project, pool):
    work = project(
        """
        rule all:
            input: "out/1"

        rule one:
            output: "out/{i}"
            shell: "printf '\\\\x02''3/4''\\\\x03'; echo hello; echo there >&2; touch {output}"
        """
    )
    work.run(*on(pool, "node1")).expect(0)
    (log,) = Path(work.directory / ".snakemake/harbor_logs/one/i=1").iterdir()
    assert log.name == "1.1.log" and log.read_text().endswith("hello\nthere\n")
    assert work.harbor("log", "1").stdout.endswith("hello\nthere\n")
    assert '"progress": {"done": 3.0, "total": 4.0}' in work.harbor("status", "--json").stdout
    story = work.harbor("explain", "1").stdout
    for word in ("queued", "placed on node1", "running on node1", "succeeded on node1"):
        assert word in story
    assert "succeeded" in work.harbor("status").stdout
    shown = work.harbor("nodes", "--json")
    assert '"state": "ready"' in shown.stdout and shown.returncode == 0
    assert "ok       answers in" in work.harbor("doctor").stdout
    missing = work.harbor("log", "77")
    assert missing.returncode == 1 and "has no job '77'" in missing.stderr
