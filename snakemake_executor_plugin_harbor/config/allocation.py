"""Finds the nodes of the batch allocation that this process runs in (`--harbor-hosts slurm` or `pbs`)."""

import ipaddress
import os
import re
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path

from ..errors import HarborError

KINDS = ("slurm", "pbs")
"""These words of --harbor-hosts stand for the nodes of an allocation."""


def allocated_hosts(kind: str) -> list[str]:
    """Return the nodes of the allocation, each as SLOTS/HOST, or as HOST if the number of slots is unknown."""
    return _pbs_hosts() if kind == "pbs" else _slurm_hosts()


def _pbs_hosts() -> list[str]:
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
    return [f"{slots}/{host}" for host, slots in Counter(hosts).items()]


def _slurm_hosts() -> list[str]:
    listing = os.environ.get("SLURM_JOB_NODELIST")
    if not listing:
        raise HarborError(
            "--harbor-hosts slurm: SLURM_JOB_NODELIST is not set, so this is not inside a Slurm allocation.",
            "salloc -N 4 snakemake --executor harbor --harbor-hosts slurm",
        )
    names = _expand_names(listing)
    slots = _expand_counts(os.environ.get("SLURM_JOB_CPUS_PER_NODE", ""))
    return [f"{n}/{name}" for n, name in zip(slots, names, strict=False)] if len(slots) == len(names) else names


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


def _expand_counts(text: str) -> list[int]:
    """Return the numbers of Slurm's compressed form: `8(x2),4` stands for 8, 8 and 4. Return none for another form."""
    counts: list[int] = []
    for item in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,6})\))?", item)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
