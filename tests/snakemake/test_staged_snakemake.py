"""Jobs that a Snakemake runs on a node which does not have the working directory: the workflow's sources are sent."""

import sys

import pytest

from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.views.status import status
from tests.lab import Lab
from tests.snakemake.harness import Workdir, on
from tests.sshd import wait_until

pytestmark = pytest.mark.timeout(200)  # a Snakemake that starts on a node is slow on a busy machine
SNAKEFILE = """
    import beside

    configfile: "config.yaml"
    TABLE = open("table.csv").read()
    include: "../common/inc.smk"

    module other:
        snakefile: "../common/mod.smk"
        config: config["other"]

    use rule * from other as other_*

    rule all:
        default_target: True
        input: "out/coded", "out/updated", "out/included", "out/module", "out/spawned"

    rule coded:
        input: "in/1", "../common/data", os.path.abspath("in/2")
        output: "out/coded", directory("out/dir"), touch("out/touched")
        log: "logs/coded"
        benchmark: "bench/coded"
        params: source=workflow.source_path("source.txt")
        resources: stage_in="in/3"
        threads: 2
        run:
            texts = [open(path).read() for path in (*input, params.source, "in/3")]
            words = [config["word"], config["file"], config["typed"], beside.WORD, TABLE, threads]
            open(output[0], "w").write(f"{texts} {words}")
            os.mkdir(output[1])
            shell("cp {input[0]} {output[1]}/x; echo log > {log}")

    rule updated:
        input: "in/1"
        output: update("out/updated")
        run:
            open(output[0], "a").write("new")
"""
INCLUDED = """
rule included:
    input: "in/1"
    output: "out/included"
    group: "g"
    shadow: "minimal"
    run:
        open("litter", "w").close()
        open(output[0], "w").write(open(input[0]).read())

rule spawned:
    input: "out/included"
    output: "out/spawned"
    group: "g"
    shell: "cat {input} > {output}; pwd | grep -q /stage/"
"""
MODULE = """
rule one:
    input: "out/included"
    output: "out/module"
    group: "g"
    script: "one.py"
"""
SCRIPT = """
open(snakemake.output[0], "w").write(snakemake.config["inner"])
"""


@pytest.fixture
def lab(tmp_path):
    """A host that has this Python with Snakemake, and not the project."""
    if reason := Lab.unavailable():
        pytest.skip(reason)
    with Lab(1, base=tmp_path / "lab") as lab:
        yield lab


def test_sources_config_and_files_are_sent(lab, tmp_path):
    common, work = tmp_path / "common", Workdir(tmp_path / "project", SNAKEFILE)
    files = {
        common / "inc.smk": INCLUDED,
        common / "mod.smk": MODULE,
        common / "one.py": SCRIPT,
        common / "data": "data",
        work.directory / "beside.py": "WORD = 'beside'\n",
        work.directory / "source.txt": "source",
        work.directory / "table.csv": "table",
        work.directory / "config.yaml": "word: own\nother: {inner: module}\n",
        work.directory / "more" / "given.yaml": "file: given\n",
        work.directory / "in" / "1": "one",
        work.directory / "in" / "2": "two",
        work.directory / "in" / "3": "three",
        work.directory / "out" / "updated": "old ",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    options = (
        "--harbor-dispatch",
        "snakemake",
        "--configfile",
        "more/given.yaml",
        "--config",
        "typed=t",
        "--forcerun",
        "updated",
    )
    try:
        run = work.run(*on(lab, "8/host1"), *options, timeout=150).expect()
    finally:
        work.close()
    out = work.directory / "out"
    assert (
        out / "coded"
    ).read_text() == "['one', 'data', 'two', 'source', 'three'] ['own', 'given', 't', 'beside', 'table', 2]"
    assert (out / "dir" / "x").read_text() == "one" and (out / "touched").exists()
    assert (work.directory / "logs" / "coded").read_text() == "log\n"
    assert (work.directory / "bench" / "coded").read_text().count("\n") == 2
    found = {name: (out / name).read_text() for name in ("updated", "included", "spawned", "module")}
    assert found == {"updated": "old new", "included": "one", "spawned": "one", "module": "module"}
    assert not (work.directory / "litter").exists()
    now = status(open_run(work.directory))
    assert now["counts"] == {"succeeded": 3} and "Traceback" not in run.text


@pytest.mark.parametrize(
    ("place", "why"),
    [("far", "outside the working directory"), ("project/near", "that is written in Snakefile")],
)
def test_a_file_that_the_snakefile_names_by_an_absolute_path(pool, project, tmp_path, place, why):
    work = project(f'rule one:\n    input: "{tmp_path}/{place}"\n    output: "out"\n    run:\n        pass\n')
    (tmp_path / place).touch()
    run = work.run(*on(pool, "1/node1"), "--harbor-staging", "always").expect(1)
    assert f"{tmp_path}/{place} is an absolute path {why}." in run.text and "Traceback" not in run.text


def test_a_job_whose_inputs_are_others_on_the_node_fails(pool, project):
    """The Snakefile looks for files that no job of the node has as inputs. It would silently make something else."""
    work = project(
        """
        rule one:
            input: expand("in/{name}", name=glob_wildcards("names/{name}.txt").name)
            output: "out"
            run:
                open(output[0], "w").write(str(len(input)))
        """
    )
    for path in ("names/a.txt", "in/a"):
        (work.directory / path).parent.mkdir()
        (work.directory / path).touch()
    run = work.run(*on(pool, "1/node1"), "--harbor-staging", "always").expect(1)
    assert "one has other inputs than on the controller: none." in run.text and "stage_in" in run.text
    assert not (work.directory / "out").exists()


def test_the_next_controller_fetches_what_a_snakemake_has_made(pool, project, tmp_path):
    work = project(
        f"""
        rule one:
            output: "out"
            benchmark: "bench"
            run:
                import time
                open("{tmp_path}/began", "a").write("x")
                while not os.path.exists("{tmp_path}/go"):
                    time.sleep(0.05)
                open(output[0], "w").write("made")
        """
    )
    options = (*on(pool, "1/node1"), "--harbor-staging", "always")
    run = work.start(*options)
    wait_until((tmp_path / "began").exists, 60)
    run.kill()
    again = work.start(*options, "--rerun-incomplete", "--nolock")
    again.until("adopted job")
    (tmp_path / "go").touch()
    again.wait()
    again.expect()
    assert (work.directory / "out").read_text() == "made" and (tmp_path / "began").read_text() == "x"
    assert (work.directory / "bench").exists() and work.files(".snakemake/harbor/start/*") == []


def test_a_cwl_tool_is_sent(pool, project, tmp_path):
    """cwltool is a small program here. The real one takes half a minute, and Snakemake 9.27 gives it no valid URL."""
    work = project(
        'rule one:\n    input: text="in"\n    output: "out"\n    params: name="out"\n    cwl: "tools/copy.cwl"\n'
    )
    (work.directory / "tools").mkdir()
    (work.directory / "tools" / "copy.cwl").write_text("copies")
    (work.directory / "in").write_text("text ")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "cwltool").write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "tool, given = open(sys.argv[1][5:]).read(), json.load(open(sys.argv[2]))\n"
        "assert '/stage/' in sys.argv[1]\n"
        "open(given['name'], 'w').write(open(given['text']['path']).read() + tool)\n"
    )
    (tmp_path / "bin" / "cwltool").chmod(0o755)
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(f"node1: {{setup: 'PATH={tmp_path}/bin:$PATH', staging: always}}\n")
    work.run(*on(pool)[:-2], "--harbor-hostfile", str(hosts)).expect()
    assert (work.directory / "out").read_text() == "text copies"
