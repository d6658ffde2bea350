"""Finds the nodes of the batch allocation that this process runs in (`--harbor-hosts slurm` or `pbs`)."""

import ipaddress
import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ..core.model import NodeSpec
from ..errors import HarborError
from .host import parse_host

KINDS = ("slurm", "pbs")
"""These words of --harbor-hosts stand for the nodes of an allocation."""


@dataclass
class _Share:
    """The part of a host that belongs to the allocation. None stands for what is not known."""

    slots: int | None = None
    mem_mb: int | None = None

    def add(self, slots: int | None, mem_mb: int | None) -> None:
        """Add what another part of the same allocation has on this host."""
        self.slots = (self.slots or 0) + slots if slots else self.slots
        self.mem_mb = (self.mem_mb or 0) + mem_mb if mem_mb else self.mem_mb


def allocated_nodes(kind: str) -> list[NodeSpec]:
    """Return the nodes of the allocation, with the cores and the memory that the allocation has on them."""
    shares = _pbs_shares() if kind == "pbs" else _slurm_shares()
    nodes = []
    for host, share in shares.items():
        text = f"{share.slots}/{host}" if share.slots else host
        nodes.append(replace(parse_host(text, f"--harbor-hosts {kind}"), mem_mb=share.mem_mb))
    return nodes


def _pbs_shares() -> dict[str, _Share]:
    """Return the hosts in the file that PBS_NODEFILE names. PBS lists a host there once per slot."""
    path = os.environ.get("PBS_NODEFILE")
    if not path:
        raise HarborError(
            "--harbor-hosts pbs: PBS_NODEFILE is not set, so this is not inside a PBS job.",
            "qsub -I -l select=4   # and in that job: snakemake --executor harbor --harbor-hosts pbs",
        )
    try:
        hosts = [_without_domain(line) for line in Path(path).read_text().split()]
    except (OSError, ValueError) as error:
        raise HarborError(
            f"--harbor-hosts pbs: PBS_NODEFILE {path} cannot be read: {error}.", "ls -l $PBS_NODEFILE"
        ) from error
    return {host: _Share(slots) for host, slots in Counter(hosts).items()}


def _slurm_shares() -> dict[str, _Share]:
    """Return the hosts of the Slurm allocation.

    SLURM_JOB_CPUS_PER_NODE counts the cores that we may use, whatever options asked for them (-n, -c, --exclusive). A
    heterogeneous job (`salloc -n 1 : -n 8`) is several allocations. The names of their variables end in _HET_GROUP_0
    and so on, and a host may occur in more than one of them.
    """
    size = os.environ.get("SLURM_HET_SIZE", "")
    parts = [f"_HET_GROUP_{number}" for number in range(int(size))] if re.fullmatch("[0-9]{1,4}", size) else [""]
    shares: dict[str, _Share] = {}
    for part in parts:
        listing = os.environ.get(f"SLURM_JOB_NODELIST{part}")
        if not listing:
            raise HarborError(
                f"--harbor-hosts slurm: SLURM_JOB_NODELIST{part} is not set, so this is not inside a Slurm allocation.",
                "salloc -N 4 --exclusive snakemake --executor harbor --harbor-hosts slurm",
            )
        hosts = _expand_names(listing)
        counts = _expand_counts(os.environ.get(f"SLURM_JOB_CPUS_PER_NODE{part}", ""))
        per_node, per_cpu = (_number(f"SLURM_MEM_PER_{unit}{part}") for unit in ("NODE", "CPU"))
        for host, slots in zip(hosts, counts if len(counts) == len(hosts) else [None] * len(hosts), strict=True):
            mem_mb = per_node or (per_cpu * slots if per_cpu and slots else None)
            shares.setdefault(host, _Share()).add(slots, mem_mb)
    return shares


def _number(variable: str) -> int | None:
    """Return the whole number in an environment variable, or None if there is none."""
    text = os.environ.get(variable, "")
    return int(text) if re.fullmatch("[0-9]{1,12}", text) else None


@cache
def _expand_names(listing: str) -> list[str]:
    """Return the host names of Slurm's compressed form: `node[1-3]` stands for node1, node2 and node3."""
    try:
        command = ["scontrol", "show", "hostnames", listing]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise HarborError(
            f"--harbor-hosts slurm: the names of the nodes are not known, because `scontrol show hostnames` "
            f"failed: {error}.",
            'scontrol show hostnames "$SLURM_JOB_NODELIST"',
        ) from error


def _without_domain(host: str) -> str:
    """Return a host name without its domain. An address is returned as it is."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.split(".")[0]
    return host


def _expand_counts(text: str) -> list[int | None]:
    """Return the numbers of Slurm's compressed form: `8(x2),4` stands for 8, 8 and 4. Return none for another form."""
    counts: list[int | None] = []
    for item in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,6})\))?", item)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
