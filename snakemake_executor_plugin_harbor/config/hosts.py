"""The host list: `[SLOTS/][USER@]HOST[:PORT]` on the command line, host files, and a batch allocation's nodes."""

import ipaddress
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..core.model import NodeSpec
from ..core.protocol import MAX_CORES
from ..errors import HarborError

FORM = "[SLOTS/][USER@]HOST[:PORT], for example 8/ada or carol@grace:2222"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]*")
FILE_MAX = 4 << 20
"""Bytes of a host file; 100,000 hosts take half of it."""
_SHOWN = 60


def parse_host(text: str, where: str) -> NodeSpec:
    """One entry in GNU parallel's sshlogin form. `where` (option or file:line) begins the error message."""

    def bad(why: str) -> HarborError:
        return HarborError(f"{where}: {short(text)} is not a host: {why}. The form is {FORM}.")

    rest, slots, user, port = text.strip(), None, None, None
    if "/" in rest:
        head, rest = rest.split("/", 1)
        slots = _number(head, 1, MAX_CORES)
        if slots is None:
            raise bad(f"SLOTS must be a whole number from 1 to {MAX_CORES}, not {short(head)}")
    if "@" in rest:
        user, rest = rest.rsplit("@", 1)
        if not _USER.fullmatch(user):
            raise bad(f"{short(user)} is not a user name")
    host = rest
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        if tail and not tail.startswith(":"):
            raise bad("after [ADDRESS] only :PORT may follow")
        port_text = tail[1:] if tail else None
    elif rest.count(":") == 1:
        host, port_text = rest.split(":")
    else:
        port_text = None
    if port_text is not None:
        port = _number(port_text, 1, 65535)
        if port is None:
            raise bad(f"PORT must be a number from 1 to 65535, not {short(port_text)}")
    if len(host) > 253 or not (_NAME.fullmatch(host) or _IPV6.fullmatch(host)):
        raise bad(f"{short(host)} is not a host name or address" if host else "there is no host name")
    local = host == "localhost" and user is None and port is None
    return NodeSpec(name=host, host=host, user=user, port=port, slots=slots, local=local)


def _number(text: str, low: int, high: int) -> int | None:
    """A whole number in decimal digits; None if it is not one, or out of range."""
    number = int(text) if re.fullmatch("[0-9]{1,12}", text) else -1
    return number if low <= number <= high else None


def short(value: object) -> str:
    """A wrong value for an error message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def parse_hosts(values: Iterable[str]) -> list[NodeSpec]:
    """The values of --harbor-hosts: blanks and commas separate; `slurm` and `pbs` stand for an allocation's nodes."""
    words = [word for value in values for word in re.split(r"[\s,]+", str(value)) if word]
    nodes: list[NodeSpec] = []
    for word in words:
        if word in ("slurm", "pbs"):
            nodes += [parse_host(host, word) for host in _allocation(word)]
        else:
            nodes.append(parse_host(word, "--harbor-hosts"))
    return nodes


def _allocation(kind: str) -> list[str]:
    if kind == "pbs":
        path = os.environ.get("PBS_NODEFILE")
        if not path:
            raise HarborError("--harbor-hosts pbs: PBS_NODEFILE is not set, so this is not inside a PBS job.")
        try:
            lines = [_without_domain(line) for line in Path(path).read_text().split()]
        except (OSError, ValueError) as error:
            raise HarborError(f"--harbor-hosts pbs: PBS_NODEFILE {path} cannot be read: {error}.") from error
        return [f"{n}/{host}" for host, n in Counter(lines).items()]
    listing = os.environ.get("SLURM_JOB_NODELIST")
    if not listing:
        raise HarborError(
            "--harbor-hosts slurm: SLURM_JOB_NODELIST is not set, so this is not inside a Slurm allocation.",
            "salloc -N 4 snakemake --executor harbor --harbor-hosts slurm",
        )
    names = _expand_names(listing)
    tasks = _expand_counts(os.environ.get("SLURM_JOB_CPUS_PER_NODE", ""))
    return [f"{n}/{name}" for n, name in zip(tasks, names, strict=False)] if len(tasks) == len(names) else names


@cache
def _expand_names(listing: str) -> list[str]:
    """Slurm's `node[1-3]` is node1, node2, node3."""
    try:
        command = ["scontrol", "show", "hostnames", listing]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise HarborError(f"--harbor-hosts slurm: `scontrol show hostnames` failed: {error}") from error


def _without_domain(host: str) -> str:
    """A host name without its domain; an address as it is."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.split(".")[0]
    return host


def _expand_counts(text: str) -> list[int]:
    """Slurm's `8(x2),4` is 8, 8, 4."""
    counts: list[int] = []
    for item in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,9})(?:\(x(\d{1,6})\))?", item)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def read_hostfile(path: Path) -> list[NodeSpec]:
    """A host file: one host a line (`#` comments, or `name: address`), or `.yaml` with keys for each node."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HarborError(f"--harbor-hostfile: {path} cannot be read: {reason}.") from error
    if len(data) > FILE_MAX:
        raise HarborError(f"--harbor-hostfile: {path} is larger than {FILE_MAX >> 20} MiB.")
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a mark of its byte order
        if "\0" in text:
            raise ValueError
    except ValueError as error:
        raise HarborError(f"--harbor-hostfile: {path} is not a text file.") from error
    if path.suffix in (".yaml", ".yml"):
        from .host_yaml import parse_yaml

        return parse_yaml(text, path)
    nodes = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if line:
            nodes.append(_parse_line(line, f"{path}:{number}"))
    return nodes


def _parse_line(line: str, where: str) -> NodeSpec:
    name, separator, address = (part.strip() for part in line.partition(": "))
    if not separator:
        return parse_host(line, where)
    return replace(parse_host(address, where), name=node_name(name, where))


def node_name(name: str, where: str) -> str:
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise HarborError(f"{where}: {short(name)} is not a node name (letters, digits, '.', '_', '-').")
    return name


def unique(nodes: Iterable[NodeSpec], where: object = "--harbor-hosts") -> list[NodeSpec]:
    """The nodes with distinct names: a host on two ports becomes host:port; the same host twice is an error."""
    given = list(nodes)
    count: dict[str, int] = {}
    for node in given:
        count[node.name] = count.get(node.name, 0) + 1
    named = [
        replace(node, name=f"{node.host}:{node.port}") if count[node.name] > 1 and node.port else node for node in given
    ]
    seen: set[str] = set()
    for node in named:
        if node.name in seen:
            raise HarborError(
                f"{where}: node {node.name} is in the host list twice.",
                f"name it once, with the slots that it shall have: {node.slots or 8}/{node.host}",
            )
        seen.add(node.name)
    return named
