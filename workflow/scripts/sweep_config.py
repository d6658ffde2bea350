"""The sweep's configuration: checked with errors that name the key, everything the rules need computed.

Runs in Snakemake's own process while the Snakefile is read. Raises SweepError only; the Snakefile shows it without a
traceback.
"""

import datetime
import difflib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep_cases import Case, SweepError, cases_of

SCRIPT = re.compile(r"\S+\.(py|sh|R|r|pl|rb|jl)")
PLACEHOLDER = re.compile(r"(?<![$@\w])\{([A-Za-z_]\w*)\}")
QUOTED = re.compile(r"'[^']*'")
RESOURCES = ("mem_mb", "disk_mb", "runtime", "gpu", "node", "constraint", "progress", "stall_after")
LOGS = ("stdout", "stderr")
TYPES = {"object": "a mapping", "array": "a list", "string": "text", "integer": "integer", "number": "number"}


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
    config = plain(config)
    validate(config, schema)
    return {str(name): _sweep(str(name), entry) for name, entry in config["sweeps"].items()}


def plain(value: Any) -> Any:
    """YAML makes a date of 2024-01-01; a case means the text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, datetime.date) else value


# --- the schema ---------------------------------------------------------------------------------------------------


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check against the JSON schema; the first mistake becomes a sentence that names the key."""
    import jsonschema

    errors = sorted(jsonschema.Draft7Validator(schema).iter_errors(dict(config)), key=lambda e: list(map(str, e.path)))
    if errors:
        raise SweepError(_sentence(errors[0]))


def _sentence(error: Any) -> str:
    where = _where(error.absolute_path) or "config"
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), Mapping):
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        return f"{where}.{unknown}: unknown key; {_guess(str(unknown), known) or 'known are ' + ', '.join(known)}"
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


def _guess(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else ""


# --- one sweep ----------------------------------------------------------------------------------------------------


def _sweep(name: str, entry: Mapping[str, Any]) -> Sweep:
    where = f"sweeps.{name}"
    template = entry["template"]
    if not Path(template).is_dir():
        raise SweepError(f"{where}.template: there is no directory {Path(template).absolute()}")
    if Path("results").resolve().is_relative_to(Path(template).resolve()):
        raise SweepError(f"{where}.template: {template!r} holds results/, which would be copied into itself")
    sweep = Sweep(
        name=name,
        template=template,
        cases=cases_of(where, entry),
        run=(entry["run"],) if isinstance(entry["run"], str) else tuple(entry["run"]),
        pre=_processor(f"{where}.pre", entry.get("pre")),
        post=_processor(f"{where}.post", entry.get("post")),
        result=_result(where, entry.get("result")),
        threads=entry.get("threads", 1),
        resources={key: entry[key] for key in RESOURCES if key in entry},
        plot=entry.get("plot"),
    )
    _check_progress(where, entry.get("progress"))
    _check_runtime(where, entry.get("runtime"))
    if sweep.plot and not sweep.result:
        for key, column in sweep.plot.items():
            if column not in ("case", *sweep.parameters):
                guess = _guess(column, list(sweep.parameters)) or f"parameters are {', '.join(sweep.parameters)}"
                raise SweepError(f"{where}.plot.{key}: {column!r} is no parameter, and there is no `result`; {guess}")
    return sweep


def _result(where: str, result: str | None) -> str | None:
    if result is not None and (Path(result).is_absolute() or ".." in Path(result).parts):
        raise SweepError(f"{where}.result: {result!r} must be a path inside the case's directory")
    if result in LOGS:
        raise SweepError(f"{where}.result: {result!r} is the name of a log that the workflow writes itself")
    return result


def _processor(where: str, text: str | None) -> tuple[str, str] | None:
    """A script that is there, or else a command line."""
    if text is None:
        return None
    path = Path(text)
    known = SCRIPT.fullmatch(text)
    if path.is_file():
        if "{" in text:
            raise SweepError(f"{where}: {text!r}: Snakemake does not allow braces in the path of a script")
        if not known and not os.access(path, os.X_OK):
            raise SweepError(f"{where}: {path.absolute()} is not executable\n  Try: chmod +x {path.absolute()}")
        return (text, "")
    if known and not text.startswith("-"):
        raise SweepError(
            f"{where}: there is no script {path.absolute()}\n"
            "  A script of the template, or another program, is started by a command line: python3 pre.py"
        )
    return ("", text)


def _check_progress(where: str, pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise SweepError(f"{where}.progress: {pattern!r} is not a regular expression: {error}") from error
    if groups != 2:
        amount = "1 group" if groups == 1 else f"{groups} groups"
        raise SweepError(f"{where}.progress: {pattern!r} has {amount}; it needs two, done and total")


def _check_runtime(where: str, runtime: int | str | None) -> None:
    """Snakemake reads it with the same function, but not before the first jobs have run."""
    from humanfriendly import InvalidTimespan, parse_timespan

    try:
        parse_timespan(str(runtime or 1))
    except InvalidTimespan:
        raise SweepError(f"{where}.runtime: {runtime!r} is no time span; 90 (minutes), 2h and 1d are") from None


def doubts(sweep: Sweep) -> list[str]:
    """What is no mistake by the rules, but looks like one: `{seed}` where no parameter has that name."""
    found = []
    lines = [(f"run[{number}]", line) for number, line in enumerate(sweep.run)]
    lines += [(key, processor[1]) for key, processor in (("pre", sweep.pre), ("post", sweep.post)) if processor]
    for key, line in lines:
        for word in dict.fromkeys(PLACEHOLDER.findall(QUOTED.sub("", line))):
            if word not in sweep.parameters:
                known = ", ".join(sweep.parameters) or "none"
                guess = "the case's name is $CASE" if word == "case" else _guess(word, list(sweep.parameters))
                reason = guess or f"parameters are {known}"
                found.append(f"sweeps.{sweep.name}.{key}: {{{word}}} is no parameter and stays as it is; {reason}")
    return found


# --- what the rules are given ---------------------------------------------------------------------------------------


def template_files(template: str) -> list[str]:
    """The template's files that Snakemake can watch, in order: it would take braces in a path for wildcards."""
    return [path for path, mode in _walk(template) if _has_content(path, mode) and "{" not in path]


def template_listing(template: str) -> str:
    """A digest of what no file's content shows: names, kinds, targets of links, run bits, files with braces."""
    digest = hashlib.sha256()
    for path, mode in _walk(template):
        link = os.readlink(path) if stat.S_ISLNK(mode) else ""
        content = ""
        if "{" in path and _has_content(path, mode):
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        entry = (os.path.relpath(path, template), stat.S_IFMT(mode), link, bool(mode & stat.S_IXUSR), content)
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def _has_content(path: str, mode: int) -> bool:
    return not stat.S_ISDIR(mode) and Path(path).is_file()


def _walk(template: str) -> Iterator[tuple[str, int]]:
    for directory, folders, files in os.walk(template):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(directory, name)
            yield path, os.lstat(path).st_mode


def step(sweep: Sweep, case: Case, name: str) -> str:
    """What `step.py` is to do for one case, as JSON: `name` is run or post. Also the reason to run again.

    A changed command or pre-processor starts from a fresh copy of the template, so pre and run are one step.
    """
    if name == "run":
        commands = [_command("pre", sweep.pre)] if sweep.pre else []
        for number, line in enumerate(sweep.run, 1):
            commands.append(_command(f"run, command {number} of {len(sweep.run)}", ("", line)))
        spec: dict[str, Any] = {"commands": commands}
    else:
        assert sweep.post is not None
        spec = {"commands": [_command("post", sweep.post)], "result": sweep.result}
    return json.dumps({"case": case.name, "params": dict(case.params), **spec}, sort_keys=True)


def _command(place: str, processor: tuple[str, str]) -> dict[str, str]:
    script, line = processor
    return {"place": place, "script": script, "line": line}


def table(sweep: Sweep) -> str:
    """What `collect.py` is to put together, as JSON. `file` is relative to the table's directory."""
    cases = []
    for case in sweep.cases:
        file = f".steps/post/{case.name}" if sweep.post else f"cases/{case.name}/{sweep.result}"
        cases.append({"case": case.name, "params": dict(case.params), "file": file if sweep.result else None})
    return json.dumps({"parameters": list(sweep.parameters), "cases": cases, "result": sweep.result})
