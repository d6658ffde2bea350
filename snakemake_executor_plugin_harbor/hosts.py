"""The host list: `[SLOTS/][USER@]HOST[:PORT]` on the command line, host files, and a batch allocation's nodes."""

import difflib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from .core.model import NodeSpec
from .errors import HarborError

FORM = "[SLOTS/][USER@]HOST[:PORT], for example 8/ada or carol@grace:2222"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\-]*")
_YAML_KEYS = {
    "host": str,
    "slots": int,
    "mem_mb": int,
    "gpus": int,
    "tags": list,
    "scratch": str,
    "python": str,
    "setup": str,
    "workdir": str,
    "max_load": float,
    "hours": str,
}


def parse_host(text: str, where: str) -> NodeSpec:
    """One entry in GNU parallel's sshlogin form. `where` (option or file:line) begins the error message."""

    def bad(why: str) -> HarborError:
        return HarborError(f"{where}: {text!r} is not a host: {why}. The form is {FORM}.")

    rest, slots, user, port = text.strip(), None, None, None
    if "/" in rest:
        head, rest = rest.split("/", 1)
        if not head.isdecimal() or int(head) < 1:
            raise bad(f"SLOTS must be a whole number from 1, not {head!r}")
        slots = int(head)
    if "@" in rest:
        user, rest = rest.rsplit("@", 1)
        if not _USER.fullmatch(user):
            raise bad(f"{user!r} is not a user name")
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
        if not port_text.isdecimal() or not 0 < int(port_text) < 65536:
            raise bad(f"PORT must be a number from 1 to 65535, not {port_text!r}")
        port = int(port_text)
    if not _NAME.fullmatch(host) and not _IPV6.fullmatch(host):
        raise bad(f"{host!r} is not a host name or address" if host else "there is no host name")
    local = host == "localhost" and user is None and port is None
    return NodeSpec(name=host, host=host, user=user, port=port, slots=slots, local=local)


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
        lines = [line.split(".")[0] for line in Path(path).read_text().split()]
        return [f"{lines.count(host)}/{host}" for host in dict.fromkeys(lines)]
    listing = os.environ.get("SLURM_JOB_NODELIST")
    if not listing:
        raise HarborError(
            "--harbor-hosts slurm: SLURM_JOB_NODELIST is not set, so this is not inside a Slurm allocation.",
            "salloc -N 4 snakemake --executor harbor --harbor-hosts slurm",
        )
    try:
        command = ["scontrol", "show", "hostnames", listing]
        names = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        raise HarborError(f"--harbor-hosts slurm: `scontrol show hostnames` failed: {error}") from error
    tasks = _expand_counts(os.environ.get("SLURM_JOB_CPUS_PER_NODE", ""))
    return [f"{n}/{name}" for n, name in zip(tasks, names, strict=False)] if len(tasks) == len(names) else names


def _expand_counts(text: str) -> list[int]:
    """Slurm's `8(x2),4` is 8, 8, 4."""
    counts: list[int] = []
    for item in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", item)
        if match is None:
            return []
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def read_hostfile(path: Path) -> list[NodeSpec]:
    """A host file: one host a line (`#` comments, or `name: address`), or `.yaml` with keys for each node."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise HarborError(f"--harbor-hostfile: {path} cannot be read: {reason}.") from error
    try:
        text = data.decode("utf-8")
        if "\0" in text:
            raise ValueError
    except ValueError as error:
        raise HarborError(f"--harbor-hostfile: {path} is not a text file.") from error
    if path.suffix in (".yaml", ".yml"):
        return _parse_yaml(text, path)
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
    if not _NAME.fullmatch(name):
        raise HarborError(f"{where}: {name!r} is not a node name (letters, digits, '.', '_', '-').")
    return replace(parse_host(address, where), name=name)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: PyYAML would silently keep the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _parse_yaml(text: str, path: Path) -> list[NodeSpec]:
    try:
        document = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise HarborError(f"{path}:{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise HarborError(f"{path}: not YAML: {error}.") from error
    if document is None:
        return []
    if not isinstance(document, Mapping):
        raise HarborError(f"{path}: expected one `NAME: {{slots: 8, ...}}` a node, got a {type(document).__name__}.")
    return [_yaml_node(str(name), keys, path) for name, keys in document.items()]


def _yaml_node(name: str, keys: Any, path: Path) -> NodeSpec:
    where = f"{path}: {name}"
    if keys is None:
        keys = {}
    if isinstance(keys, str):
        keys = {"host": keys}
    if not isinstance(keys, Mapping):
        raise HarborError(f"{where}: expected keys like slots or tags, got {keys!r}.")
    for key in keys:
        if key not in _YAML_KEYS:
            close = difflib.get_close_matches(str(key), _YAML_KEYS, n=1)
            guess = f" Did you mean {close[0]}?" if close else f" Known: {', '.join(_YAML_KEYS)}."
            raise HarborError(f"{where}.{key}: unknown key.{guess}")
    values = {key: _yaml_value(where, key, value) for key, value in keys.items() if value is not None}
    base = parse_host(values.pop("host", name), where)
    slots = values.pop("slots", base.slots)
    return replace(base, name=name, slots=slots, **values)


def _yaml_value(where: str, key: str, value: Any) -> Any:
    kind = _YAML_KEYS[key]
    if key == "tags":
        tags = [value] if isinstance(value, str) else value
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise HarborError(f"{where}.tags: expected a list of words, got {value!r}.")
        return frozenset(tags)
    if key == "hours":
        match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", str(value))
        if match is None or int(match[1]) > 24 or int(match[2]) > 24:
            raise HarborError(f"{where}.hours: expected FROM-TO like 18-8, got {value!r}.")
        return int(match[1]) % 24, int(match[2]) % 24 if int(match[2]) != 24 else 24
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise HarborError(f"{where}.{key}: expected {kind.__name__}, got {value!r}.")
    lowest = {"slots": 1, "mem_mb": 1, "gpus": 0, "max_load": 0.01}.get(key)
    if lowest is not None and isinstance(value, (int, float)) and value < lowest:
        raise HarborError(f"{where}.{key}: must be at least {lowest}, got {value!r}.")
    return value


def unique(nodes: Iterable[NodeSpec]) -> list[NodeSpec]:
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
                f"node {node.name} is in the host list twice.",
                f"name it once, with the slots that it shall have: {node.slots or 8}/{node.host}",
            )
        seen.add(node.name)
    return named
