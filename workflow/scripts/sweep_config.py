"""The sweep's configuration: checked with errors that name the key, cases read, everything the rules need computed.

Runs in Snakemake's own process while the Snakefile is read. Raises SweepError only; the Snakefile shows it without a
traceback.
"""

import csv
import difflib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9_=+@%][A-Za-z0-9._=+,@%-]*")
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SCRIPT = re.compile(r"\S+\.(py|sh|R|r|pl|rb|jl)")
RESOURCES = ("mem_mb", "disk_mb", "runtime", "gpu", "node", "constraint", "progress", "stall_after")
LONGEST_NAME = 200
SOURCES = ("cases", "grid", "zip")


class SweepError(Exception):
    """A mistake in the configuration: which key of which file, and what is wrong with it."""


@dataclass(frozen=True)
class Case:
    """One row: its name, and its parameters as text, in the order of the columns."""

    name: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class Sweep:
    """One sweep with everything resolved. `pre` and `post` are (script path, "") or ("", command line) or None."""

    name: str
    template: str
    cases: tuple[Case, ...]
    run: tuple[str, ...]
    pre: tuple[str, str] | None
    post: tuple[str, str] | None
    result: str | None
    threads: int
    resources: Mapping[str, Any] = field(default_factory=dict)
    plot: Mapping[str, str] | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The table's parameter columns: those of all cases, in order of first appearance."""
        return tuple(dict.fromkeys(key for case in self.cases for key in case.params))

    def by_name(self) -> dict[str, Case]:
        return {case.name: case for case in self.cases}


def load(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Sweep]:
    """All sweeps of a configuration, checked. Paths are relative to the working directory."""
    validate(config, schema)
    return {name: _sweep(str(name), entry) for name, entry in config["sweeps"].items()}


# --- the schema ---------------------------------------------------------------------------------------------------


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check against the JSON schema; the first mistake becomes a sentence that names the key."""
    import jsonschema

    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(dict(config)), key=lambda e: list(map(str, e.path)))
    if errors:
        raise SweepError(_sentence(errors[0], schema))


def _sentence(error: Any, schema: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), Mapping):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        guess = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"
        return f"{where}.{unknown}: unknown key; {guess}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return (
            f"{where}.{missing}: is missing" if where != "config" else f"{missing}: is missing from the configuration"
        )
    if error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        return f"sweeps: {error.instance!r} is not a name for a sweep (letters, digits, '_', '.', '-')"
    if error.validator == "type":
        wanted = error.validator_value
        names = " or ".join(wanted) if isinstance(wanted, list) else wanted
        return f"{where}: expected {names}, got {json.dumps(error.instance)}"
    if error.validator in ("minItems", "minProperties", "minLength"):
        return f"{where}: must not be empty"
    if error.validator == "oneOf":
        return f"{where}: expected the path of a CSV or TSV file, or a list of {{parameter: value}}"
    return f"{where}: {error.message}"


# --- one sweep ----------------------------------------------------------------------------------------------------


def _sweep(name: str, entry: Mapping[str, Any]) -> Sweep:
    where = f"sweeps.{name}"
    template = entry["template"]
    if not Path(template).is_dir():
        raise SweepError(f"{where}.template: there is no directory {Path(template).absolute()}")
    cases = _cases(where, entry)
    run = (entry["run"],) if isinstance(entry["run"], str) else tuple(entry["run"])
    sweep = Sweep(
        name=name,
        template=template,
        cases=cases,
        run=run,
        pre=_processor(f"{where}.pre", entry.get("pre")),
        post=_processor(f"{where}.post", entry.get("post")),
        result=_result(where, entry.get("result")),
        threads=entry.get("threads", 1),
        resources={key: entry[key] for key in RESOURCES if key in entry},
        plot=entry.get("plot"),
    )
    _check_progress(where, entry.get("progress"))
    if sweep.plot and not sweep.result:
        for key, column in sweep.plot.items():
            if column not in sweep.parameters:
                raise SweepError(f"{where}.plot.{key}: {column!r} is no parameter, and the sweep has no result")
    return sweep


def _result(where: str, result: str | None) -> str | None:
    if result is not None and (os.path.isabs(result) or ".." in Path(result).parts):
        raise SweepError(f"{where}.result: {result!r} must be a path inside the case's directory")
    if result in ("stdout", "stderr"):
        raise SweepError(f"{where}.result: {result!r} is the name of a log that the workflow writes itself")
    return result


def _processor(where: str, text: str | None) -> tuple[str, str] | None:
    """A script that is there, or else a command line."""
    if text is None:
        return None
    if Path(text).is_file():
        return (text, "")
    if SCRIPT.fullmatch(text) and not text.startswith("-"):
        raise SweepError(f"{where}: there is no script {Path(text).absolute()}")
    return ("", text)


def _check_progress(where: str, pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise SweepError(f"{where}.progress: {pattern!r} is not a regular expression: {error}") from error
    if groups != 2:
        raise SweepError(f"{where}.progress: {pattern!r} has {groups} groups; it needs two, done and total")


# --- cases --------------------------------------------------------------------------------------------------------


def _cases(where: str, entry: Mapping[str, Any]) -> tuple[Case, ...]:
    given = [key for key in SOURCES if key in entry]
    if len(given) != 1:
        found = f"both {' and '.join(given)} are given" if given else "none of them is given"
        raise SweepError(f"{where}: exactly one of cases, grid and zip says what the cases are; {found}")
    source = given[0]
    where = f"{where}.{source}"
    if source == "cases" and isinstance(entry["cases"], str):
        rows = read_table(Path(entry["cases"]), where)
    elif source == "cases":
        rows = [(f"{where}.{i}", {str(k): text(v) for k, v in row.items()}) for i, row in enumerate(entry["cases"])]
    else:
        rows = [(where, row) for row in _combine(where, source, entry[source])]
    if not rows:
        raise SweepError(f"{where}: there are no cases")
    cases = tuple(_case(place, row) for place, row in rows)
    seen: dict[str, str] = {}
    for case, (place, _) in zip(cases, rows, strict=True):
        if case.name in seen:
            raise SweepError(f"{place}: the case {case.name!r} is there twice (first: {seen[case.name]})")
        seen[case.name] = place
    return cases


def text(value: Any) -> str:
    """A value of the configuration as a command line shows it; YAML's true is `true`."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _combine(where: str, source: str, lists: Mapping[str, list[Any]]) -> list[dict[str, str]]:
    if source == "zip" and len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(values)}" for key, values in lists.items())
        raise SweepError(f"{where}: all lists must have the same length; {lengths}")
    rows = itertools.product(*lists.values()) if source == "grid" else zip(*lists.values(), strict=True)
    return [dict(zip(map(str, lists), map(text, row), strict=True)) for row in rows]


def _case(where: str, row: Mapping[str, str]) -> Case:
    params = {key: value for key, value in row.items() if key != "case"}
    for key, value in params.items():
        if not PARAMETER.fullmatch(key):
            raise SweepError(f"{where}: {key!r} is not a name for a parameter (letters, digits, '_')")
        if "\0" in value:
            raise SweepError(f"{where}: the value of {key} holds a NUL character, which no command line can")
    name = row.get("case") or "_".join(f"{key}={value}" for key, value in params.items())
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        how = "" if "case" in row else " (made of its values; a column `case` names it otherwise)"
        why = (
            f"longer than {LONGEST_NAME} characters"
            if len(name) > LONGEST_NAME
            else "letters, digits and ._=+,@%- only"
        )
        raise SweepError(f"{where}: {name[:80]!r} is not a name for a case{how}: {why}")
    return Case(name, params)


def read_table(path: Path, where: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV or TSV file with `file:line` of each."""
    try:
        data = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SweepError(f"{where}: there is no file {path.absolute()}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{where}: {path} cannot be read as text: {error}") from error
    if "\0" in data:
        raise SweepError(f"{where}: {path} is not a text file")
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    reader = csv.reader(data.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[tuple[str, dict[str, str]]] = []
    header: list[str] = []
    try:
        for cells in reader:
            line = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _header(line, [cell.strip() for cell in cells])
            elif len(cells) != len(header):
                raise SweepError(f"{line}: {len(cells)} cells, but {len(header)} columns ({', '.join(header)})")
            else:
                rows.append((line, dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as error:
        raise SweepError(f"{path}:{reader.line_num}: {error}") from error
    if not header:
        raise SweepError(f"{where}: {path} is empty")
    return rows


def _header(where: str, names: list[str]) -> list[str]:
    for name in names:
        if not name:
            raise SweepError(f"{where}: a column has no name")
        if names.count(name) > 1:
            raise SweepError(f"{where}: the column {name!r} is there twice")
    return names


# --- what the rules are given ---------------------------------------------------------------------------------------


def template_files(template: str) -> list[str]:
    """Every file of a template directory, links not followed, in order."""
    found = []
    for directory, folders, files in os.walk(template):
        folders.sort()
        found += [os.path.join(directory, name) for name in sorted(files)]
    return found


def template_listing(template: str) -> str:
    """A digest of what is there by name: a file that goes changes it, which no input could show."""
    return hashlib.sha256("\n".join(template_files(template)).encode("utf-8", "surrogateescape")).hexdigest()


def step(sweep: Sweep, case: Case, name: str) -> str:
    """What `step.py` is to do for one case, as JSON: `name` is prepare, run or post. Also the reason to run again."""
    commands: Iterable[tuple[str, str]]
    if name == "run":
        commands = [("", line) for line in sweep.run]
    else:
        processor = sweep.pre if name == "prepare" else sweep.post
        commands = [processor] if processor else []
    spec = {
        "step": name,
        "case": case.name,
        "params": dict(case.params),
        "directory": f"results/{sweep.name}/cases/{case.name}",
        "template": sweep.template if name == "prepare" else None,
        "commands": [{"script": script, "line": line} for script, line in commands],
    }
    if name == ("post" if sweep.post else "run"):
        spec["result"] = sweep.result
    if name == "prepare":
        # A changed command starts from a fresh copy: what an earlier run left in the directory is not its input.
        spec["then"] = list(sweep.run)
    return json.dumps(spec, sort_keys=True)


def table(sweep: Sweep) -> str:
    """What `collect.py` is to put together, as JSON."""
    cases = [{"case": case.name, "params": dict(case.params)} for case in sweep.cases]
    directory = f"results/{sweep.name}/cases"
    shown = {"parameters": list(sweep.parameters), "cases": cases, "directory": directory, "result": sweep.result}
    return json.dumps(shown)
