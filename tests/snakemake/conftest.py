"""A pool of real SSH servers for runs of real Snakemake."""

from collections.abc import Iterator

import pytest

from tests.sshd import SSHD, Pool, hosts


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """Four sshd's on loopback: node1 to node4."""
    if SSHD is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    with hosts(4, tmp_path_factory.mktemp("sshd")) as pool:
        yield pool
