"""Every kind of job gives the same files as on the local executor, dispatched directly or by Snakemake on the node.

It tests `snakemake_internals/capture.py`, which captures the command, with the Snakemake that is installed.
"""

import os
import stat

import pytest

from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.views.status import status
from tests.snakemake.harness import on

SNAKEFILE = """
    shell.prefix("set -eu; PREFIXED=yes; ")

    configfile: "config.yaml"

    module other:
        snakefile: "other.smk"
        config: config["other"]

    use rule * from other as other_*

    rule all:
        default_target: True
        input:
            "shell", "script_py", "script_sh", "bench", "bench.tsv", "shadow", "shadow_script", "touched", "dir", "run",
            "gathered", "other", "long", "protected", "tmpdir", "sh", "checked", "group_b", "threads"

    rule shell:
        input: "in put"
        output: "shell"
        log: "logs/shell"
        params: a="it's", b=[1, 2]
        shell: "echo {params.a:q} {params.b} $PREFIXED; cat {input:q} > {output}; echo logged > {log}"

    rule script_py:
        output: "script_py"
        params: x=3
        script: "scripts/one.py"

    rule script_sh:
        output: "script_sh"
        script: "scripts/two.sh"

    rule bench:
        output: "bench"
        benchmark: repeat("bench.tsv", 2)
        shell: "sleep 0.1; echo b >> {output}"

    rule shadow:
        input: "in put"
        output: "shadow"
        shadow: "minimal"
        shell: "cat {input:q} > {output}; echo x > litter"

    rule shadow_script:
        output: "shadow_script"
        params: x=4
        shadow: "shallow"
        script: "scripts/one.py"

    rule touched:
        output: touch("touched")
        shell: "true"

    rule dir:
        output: directory("dir")
        shell: "mkdir {output}; echo 1 > {output}/a"

    rule run:
        output: "run"
        run:
            with open(output[0], "w") as f:
                f.write("ran")

    checkpoint split:
        output: directory("parts")
        shell: "mkdir {output}; touch {output}/0 {output}/1"

    def parts(wildcards):
        return checkpoints.split.get().output[0] + f"/{wildcards.i}"

    rule many:
        input: parts
        output: "many/{i}"
        shell: "echo {wildcards.i} > {output}"

    rule gathered:
        input: lambda wildcards: checkpoints.split.get() and ["many/0", "many/1"]
        output: "gathered"
        shell: "cat {input} > {output}"

    rule long:
        output: "long"
        params: text="x" * 100000
        shell: "echo {params.text} | wc -c > {output}"

    rule protected:
        output: protected("protected")
        shell: "echo p > {output}"

    rule tmpdir:
        output: "tmpdir"
        shell: "echo {resources.tmpdir} $TMPDIR > {output}"

    rule sh:
        output: "sh"
        resources: shell_exec="sh"
        shell: "echo $0 > {output}"

    rule checked:
        output: ensure("checked", non_empty=True)
        shell: "echo c > {output}"

    rule threads:
        output: "threads"
        threads: 2
        shell: "echo {threads} $OMP_NUM_THREADS > {output}"

    rule group_a:
        output: temp("group_a")
        group: "g"
        shell: "echo a > {output}"

    rule group_b:
        input: "group_a"
        output: "group_b"
        group: "g"
        shell: "cat {input} > {output}; echo b >> {output}"
"""
OWN = ["shell", "script_py", "bench", "shadow_script", "touched", "dir", "run", "many/0", "other", "long", "protected"]
OWN += ["group_b", "threads"]
"""For a Snakemake on the node, which is started for each of them: what differs little is left out."""
OTHER = """
greeting = "module-value"

rule hello:
    output: "other"
    params: g=greeting, name=config["name"]
    shell: "echo {params.g} {params.name} > {output}"
"""


@pytest.fixture
def kinds(project):
    """Make the project above under a name."""

    def make(name):
        work = project(SNAKEFILE, name)
        here = work.directory
        (here / "in put").write_text("input\n")
        (here / "other.smk").write_text(OTHER)
        (here / "config.yaml").write_text("other: {name: module-config}\n")
        (here / "scripts").mkdir()
        (here / "scripts/one.py").write_text("open(snakemake.output[0], 'w').write(str(snakemake.params.x))\n")
        (here / "scripts/two.sh").write_text('echo "${snakemake_output[0]}" > "${snakemake_output[0]}"\n')
        return work

    return make


def files(work):
    """Return the contents of all files that the workflow made, without times."""
    skip = (".snakemake", "bench.tsv")
    paths = [
        p for p in work.directory.rglob("*") if p.is_file() and not str(p.relative_to(work.directory)).startswith(skip)
    ]
    return {str(p.relative_to(work.directory)): p.read_bytes() for p in paths if not p.name.startswith("snakemake.")}


@pytest.mark.parametrize("dispatch", ["auto", "snakemake"])
def test_every_kind_gives_the_same_files_as_local(kinds, pool, dispatch):
    theirs, ours = kinds("local"), kinds("harbor")
    targets = OWN if dispatch == "snakemake" else []
    theirs.run("--executor", "local", "--cores", "4", "--scheduler", "greedy", *targets).expect(0)
    options = (*on(pool, "4/node1", "4/node2"), "--cores", "4", "--harbor-dispatch", dispatch)
    ours.run(*options, *targets, timeout=110).expect(0)
    now = status(open_run(ours.directory))
    assert now["counts"] == {"succeeded": now["total"]}, "with the jobs that the checkpoint added; a group is one job"
    assert {node["running"] for node in now["nodes"]} == {0}
    expected, found = files(theirs), files(ours)
    assert set(found) == set(expected)
    assert {name: found[name] for name in expected} == expected
    mode = (ours.directory / "protected").stat().st_mode
    assert not mode & stat.S_IWUSR, "protected()"
    lines = (ours.directory / "bench.tsv").read_text().splitlines()
    assert lines[0].split("\t")[0] == "s" and float(lines[1].split("\t")[0]) >= 0.1
    # A Snakemake on the node writes one line for any number of repeats (9.27).
    assert len(lines) == (3 if dispatch == "auto" else 2)
    assert not (ours.directory / "group_a").exists(), "temp()"
    assert os.listdir(ours.directory / ".snakemake" / "scripts") == [], "no script of a capture is left"
    assert not list((ours.directory / ".snakemake").glob("shell_tmp*"))


def test_direct_is_refused_where_it_cannot_be(kinds, pool):
    work = kinds("direct")
    run = work.run(*on(pool, "node1"), "--harbor-dispatch", "direct", "run").expect(1)
    assert "run: is Python code of the Snakefile" in run.text and "Traceback" not in run.text
