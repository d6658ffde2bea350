"""A real Slurm, with SSH servers that answer to the names of its nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.slurm import Slurm, missing, slurm
from tests.clusters.sweep import Project, make_project
from tests.snakemake.harness import Workdir
from tests.sshd import SSHD, Pool, hosts


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Run a Slurm of four nodes with eight cores each, node1 to node4."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with slurm(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Slurm) -> Slurm:
    """Return the cluster as soon as nothing of an earlier test runs there."""
    running_cluster.wait_until_idle()
    return running_cluster


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Run four SSH servers on loopback. Their names are those of the nodes of Slurm."""
    if SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    with hosts(4, tmp_path_factory.mktemp("sshd")) as pool:
        yield pool


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Return a function that makes projects with the sweep. Their processes are ended after the test."""
    made: list[Workdir] = []

    def make(name: str) -> Workdir:
        made.append(make_project(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.close()
