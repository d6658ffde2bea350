"""Jobs on nodes that do not have the working directory: files are sent there and fetched, and results are the same."""

import os
import shutil
import venv
from pathlib import Path

import pytest
import snakemake

from tests.snakemake.harness import Workdir, jobs_of, on
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
ALWAYS = ("--harbor-staging", "always")
SOURCES = ["Snakefile", "tool.sh", "helper.py", "in", "../outside"]
KINDS = """
    rule all:
        input: "out/last", "out/protected", "old", expand("out/{i}.txt", i=range(3))

    rule plain:
        input: "in/{i}", script="tool.sh"
        output: "out/{i}.txt"
        log: "logs/{i}.log"
        benchmark: "bench/{i}.tsv"
        shell: "bash {input.script} {input[0]} > {output} 2> {log}"

    rule tree:
        input: expand("out/{i}.txt", i=range(3)), "in"
        output: directory("tree"), touch("touched")
        shell:
            "mkdir -p {output[0]}/a/b; cat {input[0]} > {output[0]}/a/x;"
            " ln -s x {output[0]}/a/l; cp in/0 {output[0]}/a/b"

    checkpoint number:
        input: "tree"
        output: temp("number")
        shell: "cat {input}/a/l | wc -l > {output}"

    def counted(wildcards):
        number = int(open(checkpoints.number.get().output[0]).read())
        return expand("out/part{i}", i=range(number))

    rule part:
        output: ensure("out/part{i}", non_empty=True)
        resources: stage_in="helper.py"
        shell: "python3 helper.py {wildcards.i} > {output}"

    rule outside:
        input: OUTSIDE + "/absolute", "../outside/relative"
        output: OUTSIDE + "/made"
        params: path=OUTSIDE
        shell: "test ! -e {params.path}/made; cat {input} > {output}"

    rule shadow:
        input: "tree"
        output: "out/shadow"
        log: "logs/shadow"
        shadow: "minimal"
        shell: "cp {input}/a/x scratch; mv scratch {output}; echo shadow > {log}"

    rule sourced:
        input: workflow.source_path("helper.py"), "link", "../outside/two words"
        output: update("old")
        resources: stage_in="in tool.sh"
        params: path=lambda wildcards, input: input[2]
        shell: "python3 {input[0]} >> {output}; cat {input[1]} in/2 {params.path:q} {input[2]:q} >> {output}"

    rule protected:
        input: "out/shadow"
        output: protected("out/protected")
        shell: "cp {input} {output}; chmod 750 {output}"

    rule last:
        input: counted, "out/shadow", OUTSIDE + "/made", "touched", ancient("in/1")
        output: "out/last"
        shell: "cat {input} > {output}; touch -d 2020-01-01 {output}"
"""


def lay_down(project, name):
    outside = None
    work = project("", name)
    outside = work.directory.parent / "outside"
    text = KINDS.replace("OUTSIDE", repr(str(outside)))
    import textwrap

    (work.directory / "Snakefile").write_text(textwrap.dedent(text))
    (work.directory / "in").mkdir()
    for number in range(3):
        (work.directory / "in" / str(number)).write_text(f"line {number}\n")
    (work.directory / "tool.sh").write_text("cat $1; echo said >&2\n")
    (work.directory / "helper.py").write_text("import sys; print('part', *sys.argv[1:])\n")
    outside.mkdir(exist_ok=True)
    (outside / "absolute").write_text("absolute\n")
    (outside / "relative").write_text("relative\n")
    (outside / "two words").write_text("two words\n")
    (work.directory / "old").write_text("old\n")
    (work.directory / "link").symlink_to("in/1")
    (outside / "made").unlink(missing_ok=True)
    return work


def results(work):
    """Return mode and content of what the workflow has made."""
    found = {}
    for path in [*work.directory.rglob("*"), work.directory.parent / "outside" / "made"]:
        inside = os.path.relpath(path, work.directory)
        if inside.split("/")[0] in (".snakemake", "bench") or inside.startswith("snakemake"):
            continue
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[inside] = (path.lstat().st_mode, content)
    return found


def test_the_results_are_those_of_the_local_executor(pool, project):
    expected = lay_down(project, "local")
    expected.run("--executor", "local", "--cores", "4").expect()
    wanted = results(expected)
    work = lay_down(project, "staged")
    run = work.run(*on(pool, "4/node1", "4/node2"), *ALWAYS).expect()
    assert results(work) == wanted
    assert (work.directory / "bench" / "0.tsv").read_text().count("\n") == 2
    assert "will be executed" not in run.text
    again = work.run(*on(pool, "4/node1"), *ALWAYS).expect()
    assert "Nothing to be done" in again.text, "an output is not older than an input"


def test_the_working_directory_is_not_touched_by_jobs_and_nothing_is_left_on_the_node(pool, project, tmp_path):
    work = project(
        """
        rule one:
            output: "out"
            shell: "pwd > {output}; touch litter; echo to the log"
        """
    )
    scratch = tmp_path / "scratch"
    work.run(*on(pool, "1/node1"), *ALWAYS, "--harbor-scratch", str(scratch)).expect()
    assert (work.directory / "out").read_text().startswith(f"{scratch}/stage/")
    assert not (work.directory / "litter").exists()
    log = next((work.directory / ".snakemake" / "harbor_logs" / "one").glob("*.log"))
    assert log.read_text() == "to the log\n"
    wait_until(lambda: not list(scratch.glob("stage/*/*")), what="the end of the attempt's directory")


def test_a_script_with_a_module_beside_it(pool, project):
    work = project(
        """
        rule one:
            input: "in"
            output: "out"
            params: number=7
            script: "scripts/one.py"
        """
    )
    (work.directory / "in").write_text("in")
    scripts = work.directory / "scripts"
    scripts.mkdir()
    (scripts / "beside.py").write_text("WORD = 'beside'\n")
    text = "import os, beside\nline = (open(snakemake.input[0]).read(), snakemake.params.number, beside.WORD)\n"
    text += "open(snakemake.output[0], 'w').write(repr(line) + os.path.dirname(beside.__file__))\n"
    (scripts / "one.py").write_text(text)
    work.run(*on(pool, "1/node1"), *ALWAYS).expect()
    told = (work.directory / "out").read_text()
    assert told.startswith("('in', 7, 'beside')") and "/stage/" in told


def test_a_failed_job_shows_its_output_and_what_it_has_changed(pool, project):
    work = project(
        """
        rule one:
            output: "out"
            resources: stage_out="state old 'two words'"
            shell: "cat old; rm old; echo new > state; echo kept > 'two words'; echo half > out; echo no good; exit 3"
        """
    )
    (work.directory / "old").write_text("the old one\n")
    run = work.run(*on(pool, "1/node1"), *ALWAYS).expect(1)
    assert "no good" in run.text and "exit code 3" in run.text
    log = next((work.directory / ".snakemake" / "harbor_logs" / "one").glob("*.log"))
    assert log.read_text() == "the old one\nno good\n"
    assert (work.directory / "state").read_text() == "new\n" and (work.directory / "two words").read_text() == "kept\n"
    assert not (work.directory / "old").exists() and not (work.directory / "out").exists()


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("true", "it has not made: out"),
        ("mkfifo out", "it is a device, a pipe or a socket"),
        ("ln -s /etc/passwd out", "it is a link that leads out of the working directory"),
    ],
)
def test_an_output_that_cannot_be_fetched_fails_the_job_with_a_sentence(pool, project, command, sentence):
    work = project(f'rule one:\n    output: "out"\n    shell: "{command}"\n')
    run = work.run(*on(pool, "1/node1"), *ALWAYS).expect(1)
    assert sentence in run.text and "Traceback" not in run.text
    assert not os.path.lexists(work.directory / "out")


def test_a_file_that_stage_in_names_and_that_is_missing(pool, project):
    work = project('rule one:\n    output: "out"\n    resources: stage_in="gone.py"\n    shell: "touch out"\n')
    run = work.run(*on(pool, "1/node1"), *ALWAYS).expect(1)
    assert "stage_in='gone.py': there is no gone.py" in run.text and "Traceback" not in run.text


def test_a_job_that_needs_snakemake_goes_where_it_is(pool, project, tmp_path):
    work = project(
        """
        rule all:
            input: "run", "shell", "second"

        rule code:
            output: "run"
            run:
                open("run", "w").write("run")

        rule shell:
            output: "shell"
            resources: node="node1"
            shell: "pwd > {output}"

        rule first:
            output: "first"
            group: "g"
            shell: "touch {output}"

        rule second:
            input: "first"
            output: "second"
            group: "g"
            params: size=lambda wildcards, input: os.path.getsize(input[0])
            shell: "echo {params.size} > {output}"
        """
    )
    hosts = tmp_path / "hosts.yaml"
    venv.create(tmp_path / "bare", with_pip=False)
    bare = f"node1: {{slots: 1, staging: always, python: {tmp_path}/bare/bin/python, setup: 'PATH={tmp_path}:$PATH'}}\n"
    hosts.write_text(f"{bare}node2: {{slots: 1, staging: never}}\n")
    options = [*on(pool)[:-2], "--harbor-hostfile", str(hosts)]
    work.run(*options).expect()
    assert (work.directory / "run").read_text() == "run" and "/stage/" in (work.directory / "shell").read_text()
    hosts.write_text(bare)
    (work.directory / "run").unlink()
    run = work.run(*options).expect(1)
    minor, full = ".".join(snakemake.__version__.split(".")[:2]), snakemake.__version__
    assert f"has no Snakemake, but a Snakemake {minor} runs the job on its node (run: is Python code" in run.text
    assert f"Type there: {tmp_path}/bare/bin/python -m pip install snakemake=={full}." in run.text
    (work.directory / "second").unlink()
    work.run(*options, "second").expect()
    assert (work.directory / "second").read_text() == "0\n", "its group is run in parts"


def test_a_controller_that_dies_loses_nothing(pool, project):
    """One job runs and one has ended on the node when the controller dies. The next controller fetches both."""
    work = project(
        """
        rule all:
            input: "out/0", "out/1"

        rule one:
            input: "in"
            output: "out/{i}"
            shell:
                "echo {wildcards.i} >> $TOLD; until [ -e $TOLD.{wildcards.i} ]; do sleep 0.05; done;"
                " cat {input} > {output}"
        """
    )
    (work.directory / "in").write_text("in\n")
    told = work.directory.parent / "told"
    text = (work.directory / "Snakefile").read_text().replace("$TOLD", str(told))
    (work.directory / "Snakefile").write_text(text)
    run = work.start(*on(pool, "2/node1"), *ALWAYS, "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": "staged-crash"})
    wait_until(lambda: told.exists() and sorted(told.read_text().split()) == ["0", "1"], 30)
    run.kill()
    Path(f"{told}.0").touch()
    wait_until(lambda: len(jobs_of("staged-crash")) <= 1, 30)
    again = work.start(*on(pool, "2/node1"), *ALWAYS, "--rerun-incomplete", "--nolock")
    again.until("adopted job")
    Path(f"{told}.1").touch()
    again.wait()
    again.expect()
    assert sorted(told.read_text().split()) == ["0", "1"], "no job ran twice"
    assert (work.directory / "out" / "0").read_text() == (work.directory / "out" / "1").read_text() == "in\n"


def test_nodes_of_both_kinds_in_one_pool(pool, project, tmp_path):
    """What a staged node has made is the input of a job where the directory is shared, and the other way round."""
    work = project(
        """
        rule all:
            input: expand("last/{i}", i=range(4))

        rule first:
            output: "first/{i}"
            resources: node=lambda wildcards: f"node{int(wildcards.i) % 2 + 1}"
            shell: "echo $HARBOR_NODE_NAME $(pwd) > {output}"

        rule last:
            input: "first/{i}"
            output: "last/{i}"
            resources: node=lambda wildcards: f"node{(int(wildcards.i) + 1) % 2 + 1}"
            shell: "cat {input} > {output}; echo $HARBOR_NODE_NAME $(pwd) >> {output}"
        """
    )
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("node1: {slots: 2, staging: always}\nnode2: {slots: 2}\n")
    work.run(*on(pool)[:-2], "--harbor-hostfile", str(hosts)).expect()
    for i in range(4):
        found = dict(line.split() for line in (work.directory / "last" / str(i)).read_text().splitlines())
        assert found["node2"] == str(work.directory) and "/stage/" in found["node1"]


def test_a_sweep_gives_the_same_bytes(pool, tmp_path):
    """Everything but the times that the steps have noted is the same."""
    found = []
    for name, options in (
        ("local", ("--executor", "local", "--cores", "2")),
        ("staged", (*on(pool, "1/node1", "1/node2"), *ALWAYS, "--harbor-scratch", str(tmp_path / "scratch"))),
    ):
        shutil.copytree(ROOT / "examples/mat_mul", tmp_path / name)
        work = Workdir(tmp_path / name, "")
        (work.directory / "cases.csv").write_text("size,seed\n20,1\n20,2\n")
        work.run("-s", str(ROOT / "workflow/Snakefile"), *options).expect()
        results = work.directory / "results/mat_mul"
        paths = [path for path in results.rglob("*") if path.is_file() and ".steps" not in path.parts]
        found.append({str(path.relative_to(results)): (path.stat().st_mode, path.read_bytes()) for path in paths})
    assert found[0] == found[1]
    assert found[0]["results.csv"][1].count(b"\n") == 3


def test_a_notice_of_success_does_not_count_if_the_outputs_are_on_a_node_that_left_the_pool(pool, project, tmp_path):
    """The output exists, because it is one that the job changes. The node sees the directory, so it leaves a notice."""
    go = tmp_path / "go"
    work = project(
        f'rule one:\n    output: update("out")\n    shell: "until [ -e {go} ]; do sleep 0.05; done; echo new >> out"\n'
    )
    (work.directory / "out").write_text("old\n")
    scratch = ("--harbor-scratch", str(tmp_path / "scratch"))
    run = work.start(*on(pool, "1/node1"), *ALWAYS, *scratch, "--force")
    wait_until(lambda: list((tmp_path / "scratch").glob("spool/*/*.out")), 30)
    run.kill()
    go.touch()
    wait_until(lambda: work.files(".snakemake/harbor/fence/*.word"), 30, "the notice of its end")
    elsewhere = ("--harbor-scratch", str(tmp_path / "other"))
    again = (*on(pool, "1/node2"), *ALWAYS, *elsewhere, "--force", "--rerun-incomplete", "--nolock")
    work.run(*again, "--harbor-lost-after", "1", "--harbor-fence-wait", "1").expect()
    assert (work.directory / "out").read_text() == "old\nnew\n"
