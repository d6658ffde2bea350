"""Under every kind of --shared-fs-usage, the outputs of jobs are in the storage in the end."""

import os
from pathlib import Path

import pytest

from tests.snakemake.harness import on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

PLUGINS = Path(__file__).parent / "storage"
SNAKEFILE = """
    rule all:
        input: "shell", "ran"

    rule shell:
        input: "given"
        output: "shell"
        log: "logs/shell"
        shell: "cat {input} > {output}; echo shell >> {output}; echo logged > {log}"

    rule ran:
        input: "shell"
        output: "ran"
        run:
            with open(output[0], "w") as f:
                f.write(open(input[0]).read() + "run")
"""
ALL = ["input-output", "persistence", "software-deployment", "source-cache", "sources", "storage-local-copies"]


@pytest.mark.parametrize(
    "usage",
    [ALL, ["none"], ALL[:-1]],
    ids=["all", "none", "no-storage-local-copies"],
)
def test_what_jobs_make_reaches_the_storage(project, pool, tmp_path, usage):
    if "storage" not in pool.names:
        pool.add("storage", options=[f"SetEnv SHLVL=1 PYTHONPATH={PLUGINS}"])
    work, shelf = project(SNAKEFILE), tmp_path / "shelf"
    (shelf / "run").mkdir(parents=True)
    (shelf / "run" / "given").write_text("given\n")
    storage = ("--default-storage-provider", "shelf", "--default-storage-prefix", "shelf://run")
    env = {"PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]), "SHELF": str(shelf)}
    options = (*storage, "--envvars", "SHELF", "--shared-fs-usage", *usage, "--latency-wait", "5")
    work.run(*on(pool, "4/storage"), *options, env=env, timeout=250).expect(0)
    assert (shelf / "run" / "ran").read_text() == "given\nshell\nrun"
    assert (shelf / "run" / "logs" / "shell").read_text() == "logged\n"
    assert not (work.directory / "ran").exists()
