"""Where the files of an attempt lie on a node that does not have the working directory."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.jobs.node_paths import NodePaths

STAGE, TYPED, REAL = "/scratch/stage/o/r.1.1", "/home/me/link", "/data/project"
SOURCES = SimpleNamespace(directory=Path(REAL, ".snakemake/harbor/sources"), text_for_node=str)


def paths(*declared, by_snakemake=False):
    return NodePaths(STAGE, [TYPED, REAL], declared, SOURCES, by_snakemake)


@pytest.mark.parametrize(
    ("path", "name", "for_snakemake"),
    [
        ("a/b", "a/b", ".harbor/outside/data/project/a/b"),
        (f"{TYPED}/a", "a", ".harbor/outside/data/project/a"),
        (f"{REAL}/a", "a", ".harbor/outside/data/project/a"),
        ("../common/x", ".harbor/outside/data/common/x", ".harbor/outside/data/common/x"),
        ("/etc/x", ".harbor/outside/etc/x", ".harbor/outside/etc/x"),
        (f"{REAL}2/x", f".harbor/outside{REAL}2/x", f".harbor/outside{REAL}2/x"),
    ],
)
def test_names_in_the_directory_of_the_attempt(path, name, for_snakemake):
    assert paths().name(path) == name
    assert paths(by_snakemake=True).name(path) == for_snakemake


def test_a_relative_path_leads_from_where_a_snakemake_runs_to_its_file():
    """So the node's Snakemake finds what a Snakefile includes from beside the working directory."""
    there = paths(by_snakemake=True)
    for path in ("a", "../common/x", "../../data/y"):
        assert os.path.normpath(os.path.join(there.base, path)) == there.there(path)


@pytest.mark.parametrize("by_snakemake", [False, True])
def test_text_names_the_directories_of_the_node(by_snakemake):
    there = paths("/far/x", "../near", by_snakemake=by_snakemake)
    assert there.text(f"cd {TYPED} && cat {REAL}/a") == f"cd {there.base} && cat {there.base}/a"
    assert there.text("/far/x") == f"{STAGE}/.harbor/outside/far/x"
    assert there.text("../near") == f"{STAGE}/.harbor/outside/data/near"
    assert there.text(f"{there.base}/a {REAL}/.snakemake/conda/e") == f"{there.base}/a {REAL}/.snakemake/conda/e"
