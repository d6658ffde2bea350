"""Requests of jobs that exceed the nodes are handled as by the local executor."""

import shutil

import pytest

from tests.snakemake.harness import on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

THREADS = """
    rule all:
        input: "fixed", "function", "ran", expand("wide/{i}", i=range(6)), "own"

    rule fixed:
        output: "fixed"
        threads: 20
        resources: mem_mb=lambda wildcards, threads: 10 * threads
        params: t=lambda wildcards, threads: threads
        shell: "echo {threads} {params.t} {resources.mem_mb} $OMP_NUM_THREADS $HARBOR_THREADS > {output}"

    rule function:
        output: "function"
        threads: lambda wildcards, attempt: 20 * attempt
        script: "threads.py"

    rule ran:
        output: "ran"
        threads: 20
        resources: mem_mb=lambda wildcards, threads: 10 * threads
        run:
            with open(output[0], "w") as f:
                print(threads, resources.mem_mb, workflow.cores, file=f)

    rule wide:
        output: "wide/{i}"
        group: "w"
        shell: "echo {threads} > {output}; echo + >> log; sleep 0.3; echo - >> log"

    rule feed:
        output: pipe("stream")
        group: "w"
        shell: "echo > {output}"

    rule collect:
        input: expand("wide/{i}", i=range(6)), stream="stream"
        output: "collect"
        group: "w"
        shell: "cat {input.stream} > {output}"

    rule own:
        input: "collect"
        output: "own"
        handover: True
        shell: "echo {threads} > {output}"
"""


def test_threads_are_cut_down_to_the_largest_node_and_everything_follows(project, pool):
    work = project(THREADS)
    here = work.directory
    (here / "threads.py").write_text("open(snakemake.output[0], 'w').write(str(snakemake.threads))")
    run = work.run(*on(pool, "2/node1", "4/node2"), timeout=250).expect(0)
    assert (here / "fixed").read_text().split() == ["4", "4", "40", "4", "4"]
    assert (here / "function").read_text() == "4"
    assert (here / "ran").read_text().split() == ["4", "40", "4"]
    assert {(here / "wide" / str(i)).read_text() for i in range(6)} == {"1\n"}
    assert int((here / "own").read_text()) >= 1, "handover: without --cores"
    together = most = 0
    for line in (here / "log").read_text().split():
        together += 1 if line == "+" else -1
        most = max(most, together)
    assert most <= 4, "a group's jobs share what its node gives it"
    for name in ("fixed", "function", "ran"):
        assert run.text.count(f"harbor: {name}: 20 threads are reduced to 4, the slots of the largest node.") == 1


def test_threads_are_not_cut_while_a_node_that_has_not_answered_may_be_larger(project, pool, tmp_path):
    work = project('rule a:\n    output: "a"\n    threads: 5\n    shell: "echo {threads} > {output}"\n')
    (tmp_path / "hosts.yaml").write_text("node1: {slots: 2}\nabsent: {host: 127.0.1.99, slots: 8}\n")
    options = (*on(pool)[:-2], "--harbor-hostfile", str(tmp_path / "hosts.yaml"))
    run = work.start(*options)
    try:
        run.until("Select jobs")
        assert "cut down" not in run.text and "no node of the pool can ever hold it" not in run.text
    finally:
        run.kill()


def test_the_same_resources_reach_every_kind_of_job(project, pool):
    work = project(
        """
        rule all:
            input: "shell", "ran"

        rule shell:
            output: "shell"
            shell: "echo {resources.mem_mb} {resources.mem_mib} {resources.a} {resources.b} > {output}"

        rule ran:
            output: "ran"
            run:
                with open(output[0], "w") as f:
                    print(resources.mem_mb, resources.mem_mib, resources.a, resources.b, file=f)
        """
    )
    defaults = ("--default-resources", "mem_mib=1000", "a='it is'", "b=3*attempt", "--set-resources", "ran:b=4-1")
    work.run(*on(pool, "4/node1"), *defaults, timeout=250).expect(0)
    assert (work.directory / "shell").read_text() == (work.directory / "ran").read_text() == "1048 1000 it is 3\n"


def test_without_default_resources_every_kind_of_job_has_those_that_it_has_locally(project, pool):
    """Snakemake adds 1,000 MB of memory and 50,000 MB of disk to jobs that it starts with any --default-resources."""
    kinds = ("shell", "grouped", "piped", "ran")
    snakefile = f"""
        def given(wildcards, resources):
            return [resources.get(name, "none") for name in ("mem_mb", "disk_mb")]

        rule all:
            input: {kinds}

        rule shell:
            output: "shell"
            params: found=given
            shell: "echo {{params.found}} > {{output}}"

        rule grouped:
            output: "grouped"
            params: found=given
            group: "g"
            shell: "echo {{params.found}} > {{output}}"

        rule produce:
            output: pipe("pipe")
            params: found=given
            shell: "echo {{params.found}} > {{output}}"

        rule piped:
            input: "pipe"
            output: "piped"
            params: found=given
            shell: "{{{{ echo {{params.found}}; cat {{input}}; }}}} > {{output}}"

        rule ran:
            output: "ran"
            params: found=given
            run:
                with open(output[0], "w") as f:
                    print(*params.found, file=f)
        """
    found = []
    for options in (("--executor", "local", "--cores", "4"), on(pool, "4/node1")):
        work = project(snakefile)
        work.run(*options, "--forceall", timeout=250).expect(0)
        found.append({kind: (work.directory / kind).read_text() for kind in kinds})
    assert found[1] == found[0]
    assert found[0]["shell"] == found[0]["grouped"] == "none none\n"


def test_an_empty_path_here_stops_nothing(project):
    work = project('rule a:\n    output: "a"\n    shell: "echo x | cat > {output}"\n')
    # The Slurm plugin, which other tests need, calls `which` at its import. An empty PATH means this directory.
    (work.directory / "which").symlink_to(shutil.which("which"))
    work.run("--executor", "harbor", "--jobs", "2", "--harbor-max-load", "50", env={"PATH": ""}).expect(0)


def test_a_run_with_nothing_to_do_connects_to_no_node(project, pool):
    work = project('rule a:\n    output: "a"\n    shell: "echo x > {output}"\n')
    work.run(*on(pool, "node1")).expect(0)
    run = work.run(*on(pool, "node1")).expect(0)
    assert "Nothing to be done" in run.text and "harbor: " not in run.text
