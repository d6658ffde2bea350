"""Move files to a node and back, side by side with tar and cat through the ssh program.

    python benchmarks/transfers.py [--rounds 5] [--transport paramiko|openssh]

The node is an SSH server on loopback. Each round moves 1,000 files of 4 KiB there (beside `tar | ssh tar`), and 200 MB
there and back (beside `cat | ssh cat`). Both sides log in anew each time, and no content is on the node before. harbor
computes checksums on both sides, and takes what it has sent into the node's cache. The script prints the ratios of each
round, so that the machine's own speed cancels out. harbor is the first one in every other round. All files are on a
tmpfs if there is one.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.core.protocol import VERSION
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target
from snakemake_executor_plugin_harbor.staging.manifest import Checksums
from snakemake_executor_plugin_harbor.staging.model import Source, Wanted
from snakemake_executor_plugin_harbor.staging.mover import Mover
from tests.sshd import hosts

FILES, FILE_SIZE = 1000, 4 << 10
LARGE_MB = 200
NODE = NodeSpec("node1", "node1")


def timed(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


class Round:
    """One round in a directory of its own, with new contents."""

    def __init__(self, base: Path, ssh_config: Path, transport: str) -> None:
        self._base = base
        self._ssh_config = ssh_config
        self._transport = transport
        self._count = 0
        small = base / "small"
        small.mkdir(parents=True)
        for number in range(FILES):
            (small / str(number)).write_bytes(os.urandom(FILE_SIZE))
        with (base / "large").open("wb") as f:
            for _ in range(LARGE_MB):
                f.write(os.urandom(1 << 20))

    def mover(self) -> Mover:
        scratch = self._base / f"scratch{self._count}"
        self._count += 1
        welcome = {"t": "welcome", "v": VERSION, "scratch": str(scratch), "cache_mb": 1000, "umask": 0o22}
        target, settings = Target("node1", "node1", None, None, False), SshSettings(self._ssh_config, None)
        return Mover(NODE, lambda _: make_transport(target, self._transport, settings), lambda _: welcome, Checksums())

    def shell(self, command: str) -> None:
        subprocess.run(["sh", "-c", command], check=True, cwd=self._base)

    def put(self, name: str) -> float:
        """Return the seconds that it takes harbor to log in and to send a file or directory to an empty node."""
        self._mover = self.mover()
        return timed(lambda: self._mover.put("bench/r.1.1", [Source(str(self._base / name), name)]))

    def fetch(self, name: str, path: Path) -> float:
        """Return the seconds that it takes harbor to log in and to fetch what the last put() has sent."""
        self._mover.close()
        self._count -= 1
        self._mover = self.mover()
        return timed(lambda: self._mover.fetch("bench/r.1.1", [Wanted(name, str(path))]))

    def measure(self, ours_first: bool) -> dict[str, float]:
        """Return the ratios of this round."""
        ssh = f"ssh -F {self._ssh_config} node1"
        there, back, got = self._base / "there", self._base / "back", self._base / "got"
        there.mkdir()
        tar, cat = f"tar cf - small | {ssh} tar xf - -C {there}", f"cat large | {ssh} 'cat > {there}/large'"
        pairs: dict[str, tuple[Callable[[], float], str]] = {
            f"{FILES:,} files there": (lambda: self.put("small"), tar),
            f"{LARGE_MB} MB there": (lambda: self.put("large"), cat),
            f"{LARGE_MB} MB back": (lambda: self.fetch("large", got), f"{ssh} 'cat {there}/large' | cat > {back}"),
        }
        ratios = {}
        for name, (ours, command) in pairs.items():
            first = ours() if ours_first else 0.0
            theirs = timed(lambda command=command: self.shell(command))  # type: ignore[misc]
            ratios[name] = (first or ours()) / theirs
            self._mover.close()
        assert got.read_bytes() == (self._base / "large").read_bytes()
        return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--transport", choices=["paramiko", "openssh"], default="paramiko")
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="harbor-bench-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    ratios: dict[str, list[float]] = {}
    try:
        with hosts(1, base / "sshd") as pool:
            for number in range(given.rounds):
                found = Round(base / str(number), pool.ssh_config, given.transport).measure(number % 2 == 1)
                shutil.rmtree(base / str(number))
                print("; ".join(f"{name} {ratio:.2f}x" for name, ratio in found.items()), flush=True)
                for name, ratio in found.items():
                    ratios.setdefault(name, []).append(ratio)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for name, all_of_it in ratios.items():
        print(f"{name}: {statistics.median(all_of_it):.2f}x (min {min(all_of_it):.2f}, max {max(all_of_it):.2f})")


if __name__ == "__main__":
    main()
