"""Reads the host list: the values of --harbor-hosts, and host files of lines. hostfile_yaml.py reads YAML files."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..core.model import NodeSpec
from ..errors import HarborError
from .allocation import KINDS, allocated_nodes
from .host import checked_node_name, parse_host

FILE_MAX = 4 << 20
"""A host file may have this many bytes. 100,000 hosts take half of it."""


def parse_hosts(values: Iterable[str]) -> list[NodeSpec]:
    """Return the nodes that the values of --harbor-hosts name. Blanks and commas separate hosts within a value.

    The words `slurm` and `pbs` stand for the nodes of the allocation that this process runs in.
    """
    words = [word for value in values for word in re.split(r"[\s,]+", str(value)) if word]
    nodes: list[NodeSpec] = []
    for word in words:
        if word in KINDS:
            nodes += allocated_nodes(word)
        else:
            nodes.append(parse_host(word, "--harbor-hosts"))
    return nodes


def read_hostfile(path: Path) -> list[NodeSpec]:
    """Return the nodes of a host file. A file named `.yaml` or `.yml` is YAML with keys for each node.

    Any other file has one host per line, as `[SLOTS/][USER@]HOST[:PORT]` or `name: address`. `#` begins a comment.
    Raises HarborError with the file and, where there is one, the line of the mistake.
    """
    text = _read_text(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            from .hostfile_yaml import parse_yaml

            return parse_yaml(text, path)
        return _parse_lines(text, path)
    except HarborError as error:
        check = f"harbor nodes --hostfile {shlex.quote(str(path))}   # after the correction: it connects to each node"
        raise HarborError(error.message, error.hint or check) from error


def _parse_lines(text: str, path: Path) -> list[NodeSpec]:
    nodes = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip()
        if line:
            nodes.append(_parse_line(line, f"{path}:{number}"))
    return nodes


def _read_text(path: Path) -> str:
    quoted = shlex.quote(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise HarborError(f"--harbor-hostfile: {path} cannot be read: {reason}.", f"ls -l {quoted}") from error
    if len(data) > FILE_MAX:
        raise HarborError(f"--harbor-hostfile: {path} is larger than {FILE_MAX >> 20} MiB.", f"ls -l {quoted}")
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
        if "\0" in text:
            raise ValueError
    except ValueError as error:
        raise HarborError(f"--harbor-hostfile: {path} is not a text file in UTF-8.", f"file {quoted}") from error
    return text


def _parse_line(line: str, where: str) -> NodeSpec:
    name, separator, address = (part.strip() for part in line.partition(": "))
    if not separator:
        return parse_host(line, where)
    return replace(parse_host(address, where), name=checked_node_name(name, where))
