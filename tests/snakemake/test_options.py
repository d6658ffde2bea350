"""Options of Snakemake that choose jobs, or say what is left of them, have the effect that they have locally."""

from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir, on

SNAKEFILE = """
    localrules: here

    module library:
        snakefile: "library.smk"
        prefix: "lib"

    use rule * from library as library_*

    rule start:
        output: temp("start/{i}")
        shell: "echo {wildcards.i} > {output}"

    rule next:
        input: "start/{i}"
        output: "next/{i}"
        shell: "cat {input} > {output}"

    rule gather:
        input: expand("next/{i}", i=range(4))
        output: "gathered"
        shell: "cat {input} > {output}"

    rule here:
        input: "lib/made"
        output: "here"
        shell: "echo ${{HARBOR_NODE_NAME:-no node}} | cat {input} - > {output}"

    rule flaky:
        output: "flaky"
        resources: stage_out="tries"
        shell: "echo again >> tries; if [ $(wc -l < tries) -lt 3 ]; then exit 1; fi; cp tries {output}"

    rule broken:
        output: "broken"
        shell: "echo part > {output}; exit 1"

    rule beside:
        output: "beside"
        shell: "echo > {output}"
"""
LIBRARY = """
rule make:
    output: "made"
    shell: "echo made > {output}"
"""
STEPS = [
    ("--batch", "gather=1/2", "--", "gathered"),
    ("--until", "next", "--notemp", "--", "gathered"),
    ("--retries", "2", "--", "gathered", "here", "flaky"),
    ("--forcerun", "next", "--", "gathered"),
    ("--touch", "--forceall", "--", "here"),
    ("--keep-going", "--keep-incomplete", "--jobs", "1", "--", "broken", "beside"),
]


def story(work, options):
    """Run the steps in turn. Return the exit code and the files after each."""
    (work.directory / "library.smk").write_text(LIBRARY)
    told = []
    for step in STEPS:
        code = work.run(*options, *step).code
        told.append((step, code, files(work.directory)))
    return told


def files(directory: Path) -> dict[str, str]:
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    names = [name for name in found if not name.startswith((".snakemake", "snakemake."))]
    return {name: found[name].read_text() for name in names}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the story of the local executor."""
    work = Workdir(tmp_path_factory.mktemp("local"), SNAKEFILE)
    yield story(work, ["--executor", "local", "--cores", "4"])
    work.close()


@pytest.mark.parametrize("staging", ["auto", "always"])
def test_the_same_jobs_run_and_leave_the_same_files(project, pool, expected, staging):
    found = story(project(SNAKEFILE), (*on(pool, "4/node1"), "--harbor-staging", staging))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == theirs
    assert [code for _, code, _ in found] == [0, 0, 0, 0, 0, 1]
    assert set(found[0][2]) == {"Snakefile", "library.smk", "next/0", "next/1"}
    assert set(found[1][2]) - set(found[0][2]) == {"next/2", "next/3", "start/2", "start/3"}
    assert found[2][2]["flaky"] == "again\n" * 3 and found[2][2]["here"] == "made\nno node\n"
    assert found[5][2]["broken"] == "part\n" and "beside" in found[5][2]
