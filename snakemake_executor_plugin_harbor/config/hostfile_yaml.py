"""Reads a host file in YAML: `NAME: {slots: 8, tags: [big], ...}` per node.

It reads the YAML parser's nodes instead of the Python objects that the parser could make. These objects may have any
type, and aliases may make them huge or let them contain themselves.
"""

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ..core.model import NodeSpec
from ..core.protocol import MAX_CORES, MAX_MB
from ..errors import HarborError
from .host import checked_node_name, parse_host, shorten

_TYPES: dict[str, type] = {
    "host": str,
    "slots": int,
    "mem_mb": int,
    "gpus": int,
    "tags": list,
    "scratch": str,
    "python": str,
    "setup": str,
    "max_load": float,
    "hours": str,
    "staging": str,
}
_BOUNDS: dict[str, tuple[float, float]] = {
    "slots": (1, MAX_CORES),
    "mem_mb": (1, MAX_MB),
    "gpus": (0, MAX_CORES),
    "max_load": (0.01, 1000),
}
STAGING = ("auto", "always", "never")
_SHOWN = 60


def parse_yaml(text: str, path: Path) -> list[NodeSpec]:
    """Return the nodes in `text`, the content of `path`. Raises HarborError with the line of the first mistake."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = ", ".join(filter(None, (error.context, error.problem)))
        raise HarborError(f"{path}:{line}: {problem}.") from error
    except yaml.YAMLError as error:
        raise HarborError(f"{path}: it is not YAML: {error}.") from error
    except RecursionError as error:
        raise HarborError(f"{path}: it is nested too deeply.") from error
    if root is None or _is_null(root):
        return []
    pairs = _pairs(root, str(path), path, "one `NAME: {slots: 8, ...}` per node")
    return [_parse_node(_location(path, key), key.value, value, path) for key, value in pairs]


def _parse_node(where: str, name: str, value: yaml.Node, path: Path) -> NodeSpec:
    where = f"{where}: {name[:_SHOWN]}"
    values: dict[str, Any] = {}
    if isinstance(value, yaml.ScalarNode):
        if not _is_null(value):
            values["host"] = _checked(where, "host", _scalar(value, where))
    else:
        for key, content in _pairs(value, where, path, "keys like slots or tags"):
            at = f"{_location(path, key)}: {name[:_SHOWN]}"
            if key.value == "workdir":
                raise HarborError(
                    f"{at}.workdir: there is no such key any more. It had no effect: every node must see the working "
                    "directory under the same path.",
                    "sudo mount --bind THERE HERE   # on the node; then take the key out of the host file",
                )
            if key.value not in _TYPES:
                close = difflib.get_close_matches(key.value, _TYPES, n=1)
                guess = f" Did you mean {close[0]}?" if close else f" The known keys are {', '.join(_TYPES)}."
                raise HarborError(f"{at}.{key.value[:_SHOWN]}: unknown key.{guess}")
            if not _is_null(content):
                values[key.value] = _checked(at, key.value, _value(content, f"{at}.{key.value}"))
    if "host" in values:
        base = replace(parse_host(values.pop("host"), where), name=checked_node_name(name, where))
    else:
        base = parse_host(name, where)
    return replace(base, **values)


def _pairs(node: yaml.Node, where: str, path: Path, expected: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield the keys and values of a mapping. Each key must be a scalar and must occur once."""
    if not isinstance(node, yaml.MappingNode):
        raise HarborError(f"{where}: expected {expected}, got a {_kind(node)}.")
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise HarborError(f"{_location(path, key)}: a {_kind(key)} cannot be a name; expected {expected}.")
        if key.value in seen:
            raise HarborError(f"{_location(path, key)}: {shorten(key.value)} is there twice.")
        seen.add(key.value)
        yield key, value


def _location(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def _kind(node: yaml.Node) -> str:
    return type(node).__name__.removesuffix("Node").lower()


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _value(node: yaml.Node, where: str) -> Any:
    """Return the value of a scalar, or the values of a list of scalars."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return [_scalar(item, where) for item in node.value]
    raise HarborError(f"{where}: expected a value or a list of values, got a {_kind(node)}.")


def _scalar(node: yaml.ScalarNode, where: str) -> Any:
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        kind = node.tag.rpartition(":")[2]
        raise HarborError(f"{where}: {shorten(node.value)} cannot be read as {kind}.") from error


def _checked(where: str, key: str, value: Any) -> Any:
    """Return the value of a key in the form that NodeSpec has. Raises HarborError if it is wrong."""
    kind = _TYPES[key]
    if key == "tags":
        tags = [value] if isinstance(value, str) else value
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise HarborError(f"{where}.tags: expected a list of words, got {shorten(value)}.")
        return frozenset(tags)
    if key == "hours":
        match = re.fullmatch(r"([0-9]{1,2})-([0-9]{1,2})", str(value))
        if match is None or int(match[1]) > 24 or int(match[2]) > 24:
            raise HarborError(f"{where}.hours: expected FROM-TO like 18-8, got {shorten(value)}.")
        return int(match[1]) % 24, int(match[2])
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e15:
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise HarborError(f"{where}.{key}: expected {kind.__name__}, got {shorten(value)}.")
    return _text(where, key, value.strip()) if isinstance(value, str) else _bounded(where, key, value)


def _text(where: str, key: str, value: str) -> str:
    if any(character in value for character in "\n\r\0"):
        raise HarborError(f"{where}.{key}: the value must be one line, got {shorten(value)}.")
    if key == "staging" and value not in STAGING:
        raise HarborError(f"{where}.staging: the value must be one of {', '.join(STAGING)}, got {shorten(value)}.")
    if key == "scratch" and not value.startswith("/"):
        raise HarborError(f"{where}.scratch: the value must be an absolute path, got {shorten(value)}.")
    return value


def _bounded(where: str, key: str, value: Any) -> Any:
    low, high = _BOUNDS[key]
    if not low <= value <= high or math.isnan(value):
        limits = f"at least {low}" if value < low else f"from {low} to {high}"
        raise HarborError(f"{where}.{key}: the value must be {limits}, got {shorten(value)}.")
    return value
