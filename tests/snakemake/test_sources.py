"""Files that Snakemake keeps in the home directory reach nodes that share nothing but the working directory."""

import sys
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.snakemake.harness import Workdir, on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

MODULE = """
rule given:
    input: workflow.source_path("data.txt")
    output: "given"
    shell: "cat {input} > {output}"

rule asked:
    output: "asked"
    params: path=workflow.source_path("data.txt"), deep={"x": [workflow.source_path("data.txt")]}
    shell: "cat {params.path:q} {params.deep[x][0]} > {output}"

rule scripted:
    output: "scripted"
    params: path=workflow.source_path("data.txt"), deep={"x": [workflow.source_path("data.txt")]}
    script: "one.py"

rule first:
    output: temp("first")
    params: path=workflow.source_path("data.txt"), deep={"x": []}
    group: "g"
    script: "one.py"

rule grouped:
    input: "first", data=workflow.source_path("data.txt")
    output: "grouped"
    group: "g"
    run:
        with open(output[0], "w") as f:
            f.write(open(input[0]).read() + open(input.data).read())
"""
SCRIPT = """
params = snakemake.params
text = "".join(open(path).read() for path in [params.path, *params.deep.get("x", [])])
open(snakemake.output[0], "w").write("script " + text)
"""
SNAKEFILE = """
    module elsewhere:
        snakefile: "{elsewhere}/Snakefile"
    use rule * from elsewhere

    DATA = workflow.source_path("{elsewhere}/data.txt")

    rule all:
        default_target: True
        input: "given", "asked", "scripted", "grouped", "named", "wrapped"

    rule named:
        output: "named"
        shell: "cat {{DATA}} > {{output}}"

    rule wrapped:
        output: "wrapped"
        wrapper: "file:{elsewhere}/wrapper"
"""


def test_sources_scripts_and_wrappers_from_elsewhere(tmp_path):
    if reason := Lab.unavailable():
        pytest.skip(reason)
    elsewhere, shared = tmp_path / "elsewhere", tmp_path / "shared"
    (elsewhere / "wrapper").mkdir(parents=True)
    (elsewhere / "Snakefile").write_text(MODULE)
    (elsewhere / "data.txt").write_text("data\n")
    (elsewhere / "one.py").write_text(SCRIPT)
    (elsewhere / "wrapper" / "wrapper.py").write_text("open(snakemake.output[0], 'w').write('wrapped')\n")
    (elsewhere / "wrapper" / "environment.yaml").write_text("")
    shared.mkdir()
    work = Workdir(shared / "project", SNAKEFILE.format(elsewhere=elsewhere))
    # Hosts have homes and a /tmp of their own, but they need Snakemake itself.
    software = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]}
    with Lab(2, [shared, *software], tmp_path / "lab") as lab:
        try:
            run = work.run(*on(lab, "4/host1", "4/host2"), "--harbor-scratch", "/var/tmp/harbor-0", timeout=250)
            run.expect(0)
        finally:
            work.close()
    found = {name: (work.directory / name).read_text() for name in ("given", "asked", "named", "scripted", "grouped")}
    assert found == {
        "given": "data\n",
        "asked": "data\ndata\n",
        "named": "data\n",
        "scripted": "script data\ndata\n",
        "grouped": "script data\ndata\n",
    }
    assert (work.directory / "wrapped").read_text() == "wrapped"
    assert not (work.directory / ".snakemake" / "harbor" / "sources").exists(), "they go when no job needs them"
