"""Placement follows the load that nodes measure. Other load in their /proc sends jobs to other nodes in proportion."""

import collections
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snakemake.harness import on

CPUS = sorted(os.sched_getaffinity(0))


class FakeProc:
    """A node with its own boot id, whose /proc/stat shows `busy` cores, by bind mounts in a mount namespace."""

    def __init__(self, directory: Path, name: str, busy: float) -> None:
        self.busy = busy
        self.stat = directory / f"{name}.stat"
        boot = directory / f"{name}.boot"
        boot.write_text(f"{name}-boot\n")
        self.ticks = 0.0
        self.advance(0.0)
        mounts = f"mount --bind {self.stat} /proc/stat; mount --bind {boot} /proc/sys/kernel/random/boot_id"
        self.python = directory / f"{name}.python"
        self.python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{mounts}; exec python3 "$@"\' sh "$@"\n')
        self.python.chmod(0o755)

    def advance(self, seconds: float) -> None:
        """Advance the counters, in place and in one write of equal length, because readers have the file open."""
        self.ticks += seconds * os.sysconf("SC_CLK_TCK")
        share = self.busy / len(CPUS)
        lines = [
            f"cpu{n} {int(self.ticks * share):015d} 0 0 {int(self.ticks * (1 - share)):015d} 0 0 0 0 0 0" for n in CPUS
        ]
        data = ("cpu  0 0 0 0 0 0 0 0 0 0\n" + "\n".join(lines) + "\n").encode()
        fd = os.open(self.stat, os.O_WRONLY | os.O_CREAT, 0o644)
        os.pwrite(fd, data, 0)
        os.close(fd)


@pytest.fixture
def loaded(tmp_path) -> Iterator[list[FakeProc]]:
    """Return three nodes that are idle, half busy and fully busy with other people's work."""
    if os.getuid() != 0:
        pytest.skip("needs root for mount namespaces")
    nodes = [FakeProc(tmp_path, f"n{i}", len(CPUS) * share) for i, share in enumerate((0.0, 0.5, 1.0), 1)]
    ended = threading.Event()

    def tick() -> None:
        last = time.monotonic()
        while not ended.wait(0.05):
            now = time.monotonic()
            for node in nodes:
                node.advance(now - last)
            last = now

    ticker = threading.Thread(target=tick)
    ticker.start()
    yield nodes
    ended.set()
    ticker.join()


@pytest.mark.skipif(len(CPUS) < 2, reason="half of one core is no place for a job")
def test_foreign_load_sends_jobs_to_the_others_in_proportion(project, pool, loaded, tmp_path):
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text("".join(f"node{i}: {{python: {node.python}}}\n" for i, node in enumerate(loaded, 1)))
    work = project(
        """
        rule all:
            input: expand("out/{i}", i=range(30))

        rule one:
            output: "out/{i}"
            shell: "echo $HARBOR_NODE_NAME > {output}; sleep 0.4"
        """
    )
    options = [option for option in on(pool) if option not in ("--harbor-hosts", "")]
    options += ["--harbor-max-load", "1.0", "--harbor-hostfile", str(hosts), "--scheduler", "harbor"]
    work.run(*options).expect(0)
    counts = collections.Counter(path.read_text().strip() for path in (work.directory / "out").iterdir())
    assert counts["node3"] == 0, counts
    assert 1.4 <= counts["node1"] / counts["node2"] <= 3.0, counts
    shown = work.harbor("status", "--json").stdout
    assert '"state": "ended"' in shown
