"""Give each case of a sweep the directory that it runs in and the values that words of its commands become.

A class PreProcessor of Parallel-Task-Harbor decides both itself: it pushes one request or several for each case. It is
asked while the configuration is read, so that the cases are known then. This module runs in Snakemake's own process
and raises SweepError only. The class runs in a process of its own.
"""

import functools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweep_cases import Case, SweepError, is_name

# The last answers of classes are here, relative to the working directory.
ANSWERS = Path(".snakemake/sweep/requests")


def class_file(where: str, module: str | None) -> str | None:
    """Return the file of the module of a class, relative to the working directory."""
    if module is None:
        return None
    base = Path(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return str(path)
    raise SweepError(f"{where}: there is no module {module}: {base.with_suffix('.py').absolute()} does not exist")


def placed(name: str, entry: Mapping[str, Any], cases: tuple[Case, ...], ask: bool) -> tuple[Case, ...]:
    """Return the cases with their directories and values. Without `ask`, the last answer of a class is used again."""
    where, words = f"sweeps.{name}", entry.get("words", {})
    if "pre_class" in entry:
        cases = _requests(name, entry["pre_class"], words, cases, ask)
    elif "directory" in entry:
        pattern = entry["directory"]
        if "{case}" not in pattern:
            raise SweepError(f"{where}.directory: {pattern!r} must contain {{case}}, because each case has its own")
        above = os.path.dirname(os.path.abspath(pattern.partition("{case}")[0] + "x"))
        if not os.path.isdir(above):
            raise SweepError(f"{where}.directory: there is no directory {above}\n  Try: mkdir -p {shlex.quote(above)}")
        cases = tuple(replace(case, directory=os.path.abspath(pattern.replace("{case}", case.name))) for case in cases)
    if "pre_class" not in entry and "words" in entry:
        cases = tuple(replace(case, values=_values(case, words)) for case in cases)
    _check(where, name, entry.get("template"), cases)
    return cases


def _values(case: Case, words: Mapping[str, str]) -> dict[str, str]:
    names = {"REQ_NAME": case.name, "TARGET_SCENARIO": case.name, "TARGET_DIR": case.directory}
    return {**case.params, **words, **names}


def _requests(name: str, module: str, words: Mapping[str, str], cases: Sequence[Case], ask: bool) -> tuple[Case, ...]:
    """Return a case for each request that the class has pushed."""
    where, answer = f"sweeps.{name}.pre_class", ANSWERS / f"{name}.json"
    class_file(where, module)
    if ask or not answer.exists():
        asked = {"module": module, "paths": words, "cases": [[case.name, dict(case.params)] for case in cases]}
        text = _ask(where, asked)
        answer.parent.mkdir(parents=True, exist_ok=True)
        part = answer.with_name(f"{answer.name}.{os.getpid()}")
        part.write_text(text)
        part.replace(answer)
    found: list[Case] = []
    for case, requests in zip(cases, json.loads(answer.read_text()), strict=False):
        for number, (own_name, request) in enumerate(zip(_names(case, requests), requests, strict=True)):
            values, directory = request["values"], request["values"].get("TARGET_DIR", "")
            if not isinstance(directory, str) or not os.path.isabs(directory):
                raise SweepError(
                    f"{where}: generateRequest has pushed a request for the case {case.name} whose TARGET_DIR is"
                    f" {directory!r}; it must be the absolute path of the directory that modifyPrior makes"
                )
            found.append(
                replace(case, name=own_name, directory=os.path.normpath(directory), values=values,
                        copies=request["copies"], request=(case.name, number))
            )  # fmt: skip
    if not found:
        raise SweepError(f"{where}: generateRequest has pushed no request for any case")
    return tuple(found)


def _names(case: Case, requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of the case for each of its requests. The names of requests need not differ or be names here."""
    if len(requests) == 1:
        return [case.name]
    names = [str(request["values"].get("REQ_NAME", "")) for request in requests]
    if len({*names}) < len(names) or not all(map(is_name, names)):
        return [f"{case.name}.{number}" for number in range(1, len(requests) + 1)]
    return names


def _ask(where: str, asked: Mapping[str, Any]) -> str:
    """Run generateRequest for all cases. Return JSON: for each case, the requests that it has pushed."""
    script = Path(__file__).with_name("processors.py")
    run = subprocess.run(
        [sys.executable, str(script), "generate"], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise SweepError(f"{where}: {run.stderr.strip()[-2000:] or f'it ended with exit code {run.returncode}'}")
    return run.stdout


def _check(where: str, name: str, template: str | None, cases: Sequence[Case]) -> None:
    """Refuse directories that are not the case's alone, because each is removed before its case runs."""
    inner = {"the working directory": os.getcwd(), "your home directory": os.path.expanduser("~")}
    if template:
        inner["the template"] = template
    inner = {what: os.path.realpath(path) for what, path in inner.items()}
    outer = {f"results/{name}": os.path.realpath(f"results/{name}")}
    if template:
        outer["the template"] = os.path.realpath(template)
    names: dict[str, Case] = {}
    for case in cases:
        other = names.setdefault(case.name, case)
        if other is not case:
            raise SweepError(f"{where}: two requests would be the case {case.name!r}")
        if not case.directory:
            continue
        path = _place(case)
        for what, protected in inner.items():
            if _within(protected, path):
                raise SweepError(f"{where}: the directory {case.directory} of the case {case.name} contains {what}")
        for what, protected in outer.items():
            if _within(path, protected):
                raise SweepError(f"{where}: the directory {case.directory} of the case {case.name} lies in {what}")


def check_directories(sweeps: Mapping[str, Any]) -> None:
    """Refuse two cases with one directory, also in two sweeps, because they could run at the same time."""
    places: dict[str, str] = {}
    for name, sweep in sweeps.items():
        for case in sweep.cases:
            mine = f"{case.name} of {name}"
            other = places.setdefault(_place(case), mine) if case.directory else mine
            if other != mine:
                raise SweepError(f"sweeps.{name}: the cases {other} and {mine} have one directory, {case.directory}")


def _place(case: Case) -> str:
    """Return the path of the case's directory without links in the directories above it."""
    return os.path.join(_real(os.path.dirname(case.directory)), os.path.basename(case.directory))


@functools.cache
def _real(path: str) -> str:
    return os.path.realpath(path)


def _within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
