"""Compute what the scripts of the rules are given: what a step of a case has to do, and what a table consists of.

This module runs in Snakemake's own process while the Snakefile is read, after `sweep_config` has checked everything.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from case_state import hash_of
from sweep_cases import Case
from sweep_model import Sweep

# A specification of a table that no configuration has used for this time (seconds) is removed.
FORGOTTEN = 30 * 86400


def step(sweep: Sweep, case: Case, name: str) -> str:
    """Return as JSON what `step.py` or `processors.py` has to do for one case. `name` is pre, run or post.

    A change of this text is Snakemake's reason to run the step again. A changed command or pre-processor starts from a
    fresh copy of the template, so pre and run are one step.
    """
    if name == "run":
        commands = [_command("pre", sweep.pre)] if sweep.pre else []
        for number, line in enumerate(sweep.run, 1):
            commands.append(_command(f"run, command {number} of {len(sweep.run)}", ("", line)))
            if sweep.words is not None:
                commands[-1]["words"] = "unquoted"
        spec: dict[str, Any] = {"commands": commands, **_run_extras(sweep, case)}
    elif name == "post" and sweep.post is not None:
        spec = {"commands": [_command("post", sweep.post)], "result": sweep.result}
    elif name == "post":
        spec = {"module": sweep.post_class, "values": dict(case.values), "copies": dict(case.copies)}
        spec["file"] = request_file(sweep, case.name) if sweep.pre_class else ""
    else:
        spec = {"module": sweep.pre_class, "paths": sweep.words, "of": case.request, "names": list(case.values)}
        spec["directory"] = case.directory
    return json.dumps({"case": case.name, "params": dict(case.params), **spec}, sort_keys=True)


def request_file(sweep: Sweep, case: str) -> str:
    """Return the file with the values of a case as the class PreProcessor has left them."""
    return f"results/{sweep.name}/.steps/request/{case}"


def _run_extras(sweep: Sweep, case: Case) -> dict[str, Any]:
    """Return what the step `run` needs beside the commands, in sweeps that are not of the usual form."""
    extras: dict[str, Any] = {"directory": case.directory} if case.directory else {}
    if sweep.pre_class:
        # The file may differ from the values that are known now. These are there so that a change is a reason to run.
        extras.update(request=request_file(sweep, case.name), template=sweep.listing)
    if sweep.words is not None:
        extras["values"] = dict(case.values)
    if sweep.post_class:
        extras["reported"] = True
    return extras


def _command(place: str, processor: tuple[str, str]) -> dict[str, str]:
    script, line = processor
    return {"place": place, "script": script, "line": line}


def table(sweep: Sweep) -> str:
    """Return as JSON what `collect.py` and `partial_table.py` have to put together.

    `file` and `ran` are relative to the table's directory. `specs` and `scripts` show if a step of a case was done as
    the configuration wants it.
    """
    cases = []
    for case in sweep.cases:
        file = f".steps/post/{case.name}" if sweep.post else f"cases/{case.name}/{sweep.result}"
        ran = "" if sweep.post else f".steps/run/{case.name}"
        file = file if sweep.result else ""
        specs = {name: hash_of(step(sweep, case, name)) for name in sweep.steps}
        cases.append({"case": case.name, "params": dict(case.params), "file": file, "ran": ran, "specs": specs})
    scripts = {"run": sweep.pre, "post": sweep.post}
    return json.dumps(
        {
            "parameters": list(sweep.parameters),
            "cases": cases,
            "result": sweep.result,
            "on_failure": sweep.on_failure,
            "scripts": {name: processor[0] for name, processor in scripts.items() if processor and processor[0]},
        }
    )


def table_file(sweep: Sweep, directory: Path) -> str:
    """Write the text of `table` to a file and return its path.

    It is no argument of the command, because Snakemake shows the whole command when `collect` fails, and a long command
    would hide the reason. The name of the file changes with its content, so that a run that goes on keeps its file.
    """
    spec = table(sweep)
    path = directory / sweep.name / f"{hashlib.sha256(spec.encode()).hexdigest()[:32]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(spec)
    part.replace(path)
    for other in path.parent.iterdir():
        if other.stat().st_mtime < time.time() - FORGOTTEN:
            other.unlink(missing_ok=True)
    return str(path)


def left_over(sweep: Sweep) -> list[str]:
    """Return the cases of earlier configurations that are still in the directory of the results."""
    known = sweep.by_name()
    try:
        found = os.listdir(f"results/{sweep.name}/cases")
    except OSError:
        return []
    return sorted(name for name in found if name not in known and not name.startswith("."))
