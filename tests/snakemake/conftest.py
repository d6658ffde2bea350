"""A pool of real SSH servers for runs of real Snakemake."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir
from tests.sshd import SSHD, Pool, hosts


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Run four SSH servers on loopback, node1 to node4."""
    if SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    with hosts(4, tmp_path_factory.mktemp("sshd")) as pool:
        yield pool


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., Workdir]]:
    """Return a function that makes projects. Their processes are ended after the test."""
    made: list[Workdir] = []

    def make(snakefile: str, name: str = "project") -> Workdir:
        made.append(Workdir(tmp_path / name, snakefile))
        return made[-1]

    yield make
    for one in made:
        one.close()
