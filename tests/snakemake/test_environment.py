"""On a node with another environment, the variables that Snakemake sets win, and nothing else changes."""

import json
import os
import sys

import pytest

from tests.snakemake.harness import on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

THREADS = ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
NODE = "PYTHONPATH=/nodes/own R_LIBS=/nodes/r MKL_NUM_THREADS=7 OMP_NUM_THREADS=7 TMPDIR=/nodes/t ONLY_NODE=1 POPPED=1"
SNAKEFILE = """
    import os

    os.environ["CHANGED"] = "own"
    os.environ["OMP_NUM_THREADS"] = "3"
    os.environ.pop("POPPED", None)
    envvars: "OMP_NUM_THREADS", "WANTED"

    rule all:
        input: "shell", "run", "conda"

    rule shell:
        output: "shell"
        threads: 1
        resources: tmpdir="/jobs/tmp"
        shell: "env > {output}"

    rule run:
        output: "run"
        threads: 1
        run:
            shell("env > {output}")

    rule conda:
        output: "conda"
        conda: "prepared"
        shell: "env > {output}"
"""


@pytest.fixture(scope="module")
def other(pool):
    """Return a node with an environment of its own, as a profile or `SetEnv` makes it."""
    if "other" not in pool.names:
        pool.add("other", options=[f"SetEnv SHLVL=1 {NODE}"])
    return pool


def environment(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def fake_conda(directory):
    """Make a `conda` that has one environment, and an `activate` that changes nothing."""
    base = directory / "conda"
    (base / "bin").mkdir(parents=True)
    (base / "bin" / "activate").write_text("export CONDA_FAKE=$1\n")
    conda = base / "bin" / "conda"
    info = dict.fromkeys(("conda_prefix", "default_prefix", "root_prefix"), str(base))
    info |= {"envs": [f"{base}/envs/prepared"], "platform": "linux-64", "conda_version": "25.1.1"}
    conda.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print('conda 25.1.1' if '--version' in sys.argv else {json.dumps(json.dumps(info))})\n"
    )
    conda.chmod(0o755)
    (base / "envs" / "prepared").mkdir(parents=True)
    return base


def test_what_snakemake_sets_wins_over_the_node_and_the_rest_is_the_nodes(project, other, tmp_path):
    work = project(SNAKEFILE)
    base = fake_conda(tmp_path)
    same = dict.fromkeys(THREADS, "1")
    env = {
        **same,
        "WANTED": 'it\'s "here"',
        "TMPDIR": "/jobs/tmp",
        "ONLY_CONTROLLER": "1",
        "POPPED": "1",
        "PYTHONPATH": "",
        "PATH": f"{base / 'bin'}:{os.environ['PATH']}",
    }
    work.run(*on(other, "2/other"), "--sdm", "conda", env=env, timeout=250).expect(0)
    shell, run, conda = (environment(work.directory / name) for name in ("shell", "run", "conda"))
    for seen in (shell, run, conda):
        assert {seen.get(name) for name in THREADS} == {"1"}, seen
        assert seen["CHANGED"] == "own" and "POPPED" not in seen, "what the Snakefile itself sets and removes"
        assert seen["WANTED"] == 'it\'s "here"' and seen["ONLY_NODE"] == "1" and "ONLY_CONTROLLER" not in seen
    assert {shell[name] for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR")} == {"/jobs/tmp"}
    assert shell["PYTHONPATH"] == "/nodes/own" and shell["R_LIBS"] == "/nodes/r", "Snakemake does not unset them"
    assert "PYTHONPATH" not in conda and "R_LIBS" not in conda, "Snakemake unsets them for conda"
    assert conda["CONDA_FAKE"].endswith("prepared")
