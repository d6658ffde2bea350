"""Containers, environment modules, the cache between workflows, pipes and services: as Snakemake has them locally."""

import os
import sys

import pytest

from tests.snakemake.harness import on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

SNAKEFILE = """
    rule all:
        input: "contained", "contained.run", "contained.too", "moduled", "piped", "served", "kept", "kept.run"

    rule contained:
        output: "contained"
        container: "image.sif"
        shell: "echo $FAKE_IMAGE $OMP_NUM_THREADS > {output}"

    rule contained_run:
        output: "contained.run"
        container: "image.sif"
        script: "contained.sh"

    rule grouped:
        output: "grouped"
        group: "g"
        shell: "echo ${{FAKE_IMAGE:-none}} > {output}"

    rule contained_too:
        input: "grouped"
        output: "contained.too"
        container: "image.sif"
        group: "g"
        shell: "cat {input} > {output}; echo $FAKE_IMAGE >> {output}"

    rule moduled:
        output: "moduled"
        envmodules: "tool/1.2", "other"
        shell: "echo $LOADED > {output}"

    rule write:
        output: pipe("stream")
        shell: "echo through > {output}"

    rule read:
        input: "stream"
        output: "piped"
        shell: "cat {input} > {output}"

    rule serve:
        output: service("port")
        shell: "echo here > {output}; sleep 100"

    rule use:
        input: "port"
        output: "served"
        shell: "cat {input} > {output}"

    rule kept:
        output: "kept"
        cache: True
        shell: "echo made >> made; echo kept > {output}"

    rule kept_run:
        output: "kept.run"
        cache: True
        run:
            shell("echo made >> made.run; echo kept > {output}")
"""
APPTAINER = f"""#!{sys.executable}
import os, sys
args = sys.argv[1:]
if args == ["--version"]:
    print("apptainer version 1.3.4")
else:
    at = next(i for i, word in enumerate(args) if word.endswith("image.sif"))
    os.environ["FAKE_IMAGE"] = os.path.basename(args[at])
    os.execvp(args[at + 1], args[at + 1:])
"""
MODULES = 'module() { if [ "$1" = load ]; then shift; LOADED="$LOADED+$*"; export LOADED; fi; }\n'


@pytest.fixture(scope="module")
def equipped(pool, tmp_path_factory):
    """Return a node where `module` is a function of the shell, as on clusters."""
    functions = tmp_path_factory.mktemp("modules") / "init.sh"
    functions.write_text(MODULES)
    pool.add("equipped", options=[f"SetEnv SHLVL=1 BASH_ENV={functions}"])
    return pool


def test_every_way_of_deployment(project, equipped, tmp_path):
    programs, cache = tmp_path / "programs", tmp_path / "cache"
    programs.mkdir()
    cache.mkdir()
    for name in ("apptainer", "singularity"):
        (programs / name).write_text(APPTAINER)
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    options = (*on(equipped, "8/equipped"), "--sdm", "apptainer", "env-modules", "--cache", "--scheduler", "greedy")
    work = project(SNAKEFILE)
    (work.directory / "image.sif").write_text("")
    (work.directory / "contained.sh").write_text('echo "$FAKE_IMAGE" > "${snakemake_output[0]}"\n')
    work.run(*options, env=env, timeout=250).expect(0)
    names = ("contained", "contained.run", "contained.too", "moduled", "piped", "served", "kept", "kept.run")
    assert {name: (work.directory / name).read_text().strip() for name in names} == {
        "contained": "image.sif 1",
        "contained.run": "image.sif",
        "contained.too": "none\nimage.sif",
        "moduled": "+tool/1.2 other",
        "piped": "through",
        "served": "here",
        "kept": "kept",
        "kept.run": "kept",
    }
    for name in ("kept", "kept.run"):
        (work.directory / name).unlink()
    work.run(*options, "--", "kept", "kept.run", env=env, timeout=60).expect(0)
    assert (work.directory / "made").read_text() == (work.directory / "made.run").read_text() == "made\n"
