"""Check the form of the configuration by its schema, and find mistakes that YAML itself hides.

This module runs in Snakemake's own process while the Snakefile is read. It raises SweepError only.
"""

import datetime
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep_cases import SOURCES, SweepError, text

TYPES = {"object": "a mapping", "array": "a list", "string": "text", "integer": "integer", "number": "number",
         "boolean": "true or false"}  # fmt: skip
# Keys of other tools, and the keys that have their meaning here.
ALIASES = {"mem": "mem_mb", "memory": "mem_mb", "disk": "disk_mb", "time": "runtime", "timeout": "runtime",
           "walltime": "runtime", "cpus": "threads", "cores": "threads", "gpus": "gpu", "command": "run",
           "commands": "run", "cmd": "run", "host": "node", "nodes": "node", "type": "kind"}  # fmt: skip


def plain(value: Any) -> Any:
    """Return the value with dates as text, because a case means the text 2024-01-01, which YAML reads as a date."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, datetime.date) else value


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check against the JSON schema. Raises SweepError with a sentence that names the key of the first mistake."""
    import jsonschema

    errors = sorted(
        jsonschema.Draft7Validator(schema).iter_errors(dict(config)),
        # An unknown key comes before a missing one, because it is probably that one with a typo.
        key=lambda e: (list(map(str, e.path)), e.validator != "additionalProperties"),
    )
    if errors:
        raise SweepError(_sentence(errors[0]))


def _sentence(error: Any) -> str:
    where = _where(error.absolute_path) or "config"
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), Mapping):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        return f"{where}.{unknown}: unknown key; {_instead(str(unknown), error.instance[unknown], known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        if where != "config":
            return f"{where}.{missing}: is missing"
        close = difflib.get_close_matches(missing, map(str, error.instance), n=1)
        return f"{missing}: is missing from the configuration" + (f'; there is "{close[0]}"' if close else "")
    if error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        return f"sweeps: {error.instance!r} is not a name for a sweep (letters, digits, '_', '.', '-')"
    if error.validator == "type":
        wanted = error.validator_value
        names = " or ".join(TYPES[name] for name in ([wanted] if isinstance(wanted, str) else wanted) if name in TYPES)
        return f"{where}: expected {names}, got {json.dumps(error.instance, default=str)}"
    if error.validator in ("minItems", "minProperties", "minLength"):
        return f"{where}: must not be empty"
    if error.validator == "enum":
        hint = guess(str(error.instance), error.validator_value) or f"known are {', '.join(error.validator_value)}"
        return f"{where}: {json.dumps(error.instance)} is not known; {hint}"
    if error.validator == "minimum":
        return f"{where}: must be at least {error.validator_value}, got {error.instance}"
    if error.validator == "oneOf":
        inner = [e for e in error.context if len(e.absolute_path) > len(error.absolute_path)]
        if inner:
            return _sentence(inner[0])
        return f"{where}: expected the path of a CSV or TSV file, or a list of {{parameter: value}}"
    return f"{where}: {error.message}"


def _where(path: Any) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def guess(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def _instead(word: str, value: Any, known: list[str]) -> str:
    """Return a hint what to write instead of an unknown key."""
    key = ALIASES.get(word.lower())
    if key not in known:
        return guess(word, known) or f"known are {', '.join(known)}"
    if key in ("mem_mb", "disk_mb"):
        return f"write {key}: {megabytes(value)}"
    return f'did you mean "{key}"?'


def megabytes(value: Any) -> str:
    """Return a text such as `2GB` in MB, as Snakemake counts them."""
    from humanfriendly import InvalidSize, parse_size

    try:
        return str(math.ceil(parse_size(value) / 1e6)) if isinstance(value, str) else json.dumps(value, default=str)
    except InvalidSize:
        return "NUMBER, in MB"


def check_file(path: str) -> list[str]:
    """Refuse a key that occurs twice in one mapping of the file's sweeps, because YAML takes the last silently.

    Return notes about values of parameters that YAML changes: 010 is eight, yes is true, 1.50 is 1.5.
    """
    import yaml

    try:
        tree = yaml.compose(Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    notes = []
    found = [value for key, value in tree.value if key.value == "sweeps"] if isinstance(tree, yaml.MappingNode) else []
    if len(found) > 1:
        raise SweepError(f"{path}:{found[1].start_mark.line + 1}: the key 'sweeps' is there twice")
    todo = [(node, 0, False) for node in found]
    known = set()
    while todo:
        node, depth, is_parameter = todo.pop()
        if id(node) in known:
            # This is another reference to the same node. In YAML, a node may even contain a reference to itself.
            continue
        known.add(id(node))
        line = f"{path}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.SequenceNode):
            todo += [(item, depth, is_parameter) for item in node.value]
        elif isinstance(node, yaml.MappingNode):
            seen = set()
            for key, value in node.value:
                if key.value in seen and isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    raise SweepError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is there twice")
                seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
                todo.append((value, depth + 1, is_parameter or (depth == 1 and key.value in SOURCES)))
        elif is_parameter and not node.style and not node.tag.endswith((":str", ":null")):
            value = text(plain(yaml.safe_load(node.value)))
            if value != node.value:
                notes.append(f"{line}: YAML reads {node.value} as {value}; quotes keep a text: '{node.value}'")
    return notes[::-1]
