"""Check the configuration of sweeps, with errors that name the key.

This module runs in Snakemake's own process while the Snakefile is read. It raises SweepError only, which the Snakefile
shows without a traceback.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sweep_lines
import sweep_resources
from sweep_cases import SURROGATE, Case, SweepError, cases_of
from sweep_directories import check_directories, class_file, placed
from sweep_model import Sweep, columns_file
from sweep_plots import doubts, plots_of
from sweep_schema import plain, validate
from sweep_specs import step
from sweep_template import check_template

SCRIPT = re.compile(r"\S+\.(py|sh|R|r|pl|rb|jl)")
LOGS = ("stdout", "stderr")


def load(config: Mapping[str, Any], schema: Mapping[str, Any], ask: bool = True) -> dict[str, Sweep]:
    """Check a configuration and return all of its sweeps. Paths are relative to the working directory.

    A Snakemake on a node does not `ask` the classes of users again, because they run on the controller.
    """
    config = plain(config)
    validate(config, schema)
    sweeps = {str(name): _sweep(str(name), entry, ask) for name, entry in config["sweeps"].items()}
    check_directories(sweeps)
    return sweeps


# --- one sweep ----------------------------------------------------------------------------------------------------


def _sweep(name: str, entry: Mapping[str, Any], ask: bool) -> Sweep:
    where = f"sweeps.{name}"
    for key, value in entry.items():
        texts = [(f"[{i}]", each) for i, each in enumerate(value)] if isinstance(value, list) else [("", value)]
        for index, found in texts:
            if isinstance(found, str) and ("\0" in found or SURROGATE.search(found)):
                raise SweepError(f"{where}.{key}{index}: {found!r} holds a character that is no text")
    _check_keys(where, entry)
    template = entry.get("template")
    if template:
        check_template(f"{where}.template", template, f"results/{name}")
    listed = cases_of(where, entry)
    cases = placed(name, entry, listed, ask)
    sweep = Sweep(
        name=name,
        template=template,
        cases=cases,
        run=(entry["run"],) if isinstance(entry["run"], str) else tuple(entry["run"]),
        pre=_processor(f"{where}.pre", entry.get("pre")),
        post=_processor(f"{where}.post", entry.get("post")),
        result=_result(where, entry.get("result")),
        reserved=sweep_resources.reserved(where, entry, cases),
        plots=plots_of(name, entry.get("plot"), entry.get("result"), cases),
        pre_class=entry.get("pre_class"),
        post_class=entry.get("post_class"),
        words=entry.get("words"),
        on_failure=entry.get("on_failure", "fail"),
        listed=tuple(case.name for case in listed),
    )
    class_file(f"{where}.post_class", sweep.post_class)
    _check_on_failure(where, sweep)
    _check_progress(where, entry.get("progress"))
    sweep_lines.check_lines(where, sweep.lines(), sweep.cases, sweep.parameters)
    _check_sizes(where, sweep)
    _check_names(sweep)
    return sweep


def _check_keys(where: str, entry: Mapping[str, Any]) -> None:
    """Refuse keys that exclude each other or need another one."""
    if "template" not in entry and "pre_class" not in entry:
        raise SweepError(f"{where}.template: is missing")
    for key in ("pre", "post"):
        if key in entry and f"{key}_class" in entry:
            raise SweepError(f"{where}: both {key} and {key}_class are given")
        if f"{key}_class" in entry and "words" not in entry:
            raise SweepError(
                f"{where}.words: is missing; {key}_class needs it: the paths by name, {{BASE_PATH: /data}}"
            )
    if "pre_class" in entry and "directory" in entry:
        raise SweepError(f"{where}.directory: with pre_class, TARGET_DIR of the request is the case's directory")


def _check_sizes(where: str, sweep: Sweep) -> None:
    """Check the size of what step.py gets, because it is one argument and the operating system limits those."""
    lines = [*sweep.run, *(each[1] for each in (sweep.pre, sweep.post) if each)]
    commands = sum(len(line) + 100 for line in lines) + 1000
    for case in sweep.cases:
        # In JSON that is quoted for the shell, one character becomes at most twelve.
        texts = [*case.params.items(), *case.values.items(), *case.copies.items()]
        if 12 * (commands + sum(len(key) + len(str(value)) + 8 for key, value in texts)) < sweep_lines.LONGEST:
            continue
        steps = ["run", "post"] if sweep.post else ["run"]
        size = max(len(shlex.quote(step(sweep, case, name))) for name in steps)
        if size > sweep_lines.LONGEST:
            largest = max(case.params, key=lambda key: len(case.params[key]), default="")
            raise SweepError(
                f"{case.place or where}: the {len(case.params)} values of the case {case.name} and the commands of"
                f" {where} have {size} bytes, and {sweep_lines.LONGEST} are possible; the longest value is"
                f" {largest} with {len(case.params.get(largest, ''))} characters\n"
                "  Try: put the values into files, and the names of these files into the table"
            )


def _check_names(sweep: Sweep) -> None:
    """Refuse names that differ only in capitals, because they are one directory on some file systems."""
    seen: dict[str, Case] = {}
    for case in sweep.cases:
        other = seen.setdefault(case.name.lower(), case)
        if other is not case and _ignores_case(Path("results", sweep.name, "cases")):
            raise SweepError(
                f"{case.place}: the case {case.name!r} has the directory of {other.name!r} ({other.place}), because"
                f" the file system of {Path('results').absolute()} does not tell capital from small letters"
            )


def _ignores_case(directory: Path) -> bool:
    while not directory.exists():
        directory = directory.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".harbor-", dir=directory) as probe:
            return Path(probe.name).with_name(Path(probe.name).name.upper()).exists()
    except OSError:
        return False


def _result(where: str, result: str | None) -> str | None:
    if result is not None and (Path(result).is_absolute() or ".." in Path(result).parts):
        raise SweepError(f"{where}.result: {result!r} must be a path inside the case's directory")
    if result in LOGS:
        raise SweepError(f"{where}.result: {result!r} is the name of a log that the workflow writes itself")
    return result


def _processor(where: str, given: str | None) -> tuple[str, str] | None:
    """Return (path, "") if the text is the path of a script that exists, else ("", command line)."""
    if given is None:
        return None
    path = Path(given)
    known = SCRIPT.fullmatch(given)
    if path.is_file():
        if "{" in given:
            raise SweepError(f"{where}: {given!r}: Snakemake does not allow braces in the path of a script")
        if not known and not os.access(path, os.X_OK):
            raise SweepError(f"{where}: {path.absolute()} is not executable\n  Try: chmod +x {path.absolute()}")
        return (given, "")
    if known and not given.startswith("-"):
        raise SweepError(
            f"{where}: there is no script {path.absolute()}\n"
            "  A script of the template, or another program, is started by a command line: python3 pre.py"
        )
    return ("", given)


def _check_on_failure(where: str, sweep: Sweep) -> None:
    if sweep.on_failure == "record" and "failed" in sweep.parameters:
        raise SweepError(f"{where}.on_failure: the table gets a column `failed`, and a parameter has this name")
    if sweep.on_failure == "record" and sweep.post_class:
        raise SweepError(
            f"{where}.on_failure: with post_class, a case whose command fails is a failed one; use `post` instead"
        )


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


def warnings(sweep: Sweep) -> list[str]:
    """Yield warnings about what is allowed but looks like a mistake, such as `{seed}` without a parameter seed."""
    found = list(sweep_lines.warnings(sweep.lines(), sweep.parameters))
    given = sweep.reserved[sweep.cases[0].name]
    for name in (*sweep_resources.LEAST, *sweep_resources.TEXTS):
        if name in sweep.parameters and name not in given:
            found.append(
                f'{name}: there is a parameter of this name, which reserves nothing; write {name}: "{{{name}}}" here'
                " if each case shall reserve its own"
            )
    requested = {case.request[0] for case in sweep.cases}
    silent = [name for name in sweep.listed if sweep.pre_class and name not in requested]
    if silent:
        shown = ", ".join(silent[:5]) + (", ..." if len(silent) > 5 else "")
        found.append(
            f"pre_class: {len(silent)} cases do not run, as generateRequest pushes no request for them: {shown}"
        )
    if not Path(columns_file(sweep)).exists():
        found += [doubt for plot in sweep.plots for doubt in doubts(plot, sweep.parameters)]
    for name in sweep.parameters:
        if name.lower() == "case":
            found.append(f"cases: {name} is a parameter like any other; a column `case` would name the cases")
    return [f"sweeps.{sweep.name}.{doubt}" for doubt in found]
