"""Give each case what it reserves: a number, a text, or an expression of the case's parameters.

All cases are computed and checked while the configuration is read, before any job runs. This module runs in Snakemake's
own process and raises SweepError only.
"""

import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from expressions import BRACES, Expression, ExpressionError
from sweep_cases import Case, SweepError
from sweep_schema import guess, megabytes

# The keys that are numbers, each with the least that is possible. Numbers are rounded up.
LEAST = {"threads": 1, "mem_mb": 1, "disk_mb": 1, "runtime": 1, "gpu": 0, "stall_after": 1}
TEXTS = ("node", "constraint")
MOST = 10**12

Read = Callable[[Case], Any]


def reserved(where: str, entry: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, dict[str, Any]]:
    """Return what each case of the sweep at `where` reserves, by the case's name."""
    parameters = list(dict.fromkeys(key for case in cases for key in case.params))
    readers: dict[str, Read] = {}
    for key in (*LEAST, *TEXTS):
        if isinstance(entry.get(key), str):
            place, given = f"{where}.{key}", entry[key].strip()
            readers[key] = (_text if key in TEXTS else _number)(place, key, given, parameters)
        elif key in entry:
            readers[key] = _always(entry[key])
    if "progress" in entry:
        readers["progress"] = _always(entry["progress"])
    return {case.name: {key: read(case) for key, read in readers.items()} for case in cases}


def rule_resources(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a case reserves beside threads as a rule states it, so that harbor and Slurm understand the same.

    Slurm joins the features of `constraint` by `&`, and harbor takes commas, blanks and `&`. Snakemake's Slurm plugin
    takes `node` for a number of nodes if there is no `nodes`, and it passes `slurm_extra` to sbatch. None stands for
    no value, because all cases of a rule have the same keys.
    """
    resources = {key: value for key, value in own.items() if key != "threads"}
    if "constraint" in resources:
        resources["constraint"] = "&".join(re.findall(r"[^\s,&]+", resources["constraint"])) or None
    if "node" in resources:
        node = resources["node"] or None
        resources |= {"node": node, "nodes": 1, "slurm_extra": f"--nodelist={shlex.quote(node)}" if node else None}
    return resources


def _always(value: Any) -> Read:
    return lambda case: value


def _text(where: str, key: str, given: str, parameters: Sequence[str]) -> Read:
    """Return a function that puts a case's values into the text."""
    names = re.findall(r"\{([^{}]*)\}", given)
    _check_names(where, given, names, parameters)

    def read(case: Case) -> str:
        _check_case(where, given, names, case)
        return re.sub(r"\{([^{}]*)\}", lambda match: case.params[match[1]], given).strip()

    return read


def _number(where: str, key: str, given: str, parameters: Sequence[str]) -> Read:
    """Return a function that computes the number for a case. A runtime may be a time span with a unit, too."""
    # Only the names count here if it is a time span such as `{hours}h`.
    names = [match[1].strip() for match in BRACES.finditer(given) if match[1] is not None]
    _check_names(where, given, names, parameters)
    expression: Expression | None = None
    problem = ""
    try:
        expression = Expression(given)
    except ExpressionError as error:
        problem = str(error)
    if key in ("mem_mb", "disk_mb") and re.fullmatch(r"[0-9.]+\s*[A-Za-z]+", given):
        raise SweepError(f"{where}: {given!r} is no number; write {key}: {megabytes(given)}")
    if expression and expression.bare:
        name = expression.bare[0]
        hint = f"write {{{name}}} for the parameter" if name in parameters else _hint(parameters)
        raise SweepError(f"{where}: {given!r}: {name} is no number; {hint}")

    def whose(case: Case) -> str:
        return f"for {_shown(case)}: " if names else ""

    def read(case: Case) -> int:
        _check_case(where, given, names, case)
        try:
            minutes = _minutes(given, case) if key == "runtime" else None
            if minutes is None and expression is None:
                raise SweepError(f"{where}: {given!r}: {problem}; {_hint(parameters)}")
            value = minutes if minutes is not None else expression.number(case.params)
        except ExpressionError as error:
            raise SweepError(f"{where}: {given!r}: {whose(case)}{error}") from None
        # Without the rounding, 100 * 1.1 would become 111.
        whole = math.ceil(round(value, 6))
        if not LEAST[key] <= whole <= MOST:
            bound = f"at least {LEAST[key]}" if whole < LEAST[key] else f"at most {MOST}"
            raise SweepError(f"{where}: {given!r}: {whose(case)}it is {whole}, and must be {bound}")
        return whole

    return read


def _minutes(given: str, case: Case) -> float | None:
    """Return the minutes of a time span with a unit, such as `2h`. None: it is none."""
    from humanfriendly import InvalidTimespan, parse_timespan

    text = re.sub(r"\{([^{}]*)\}", lambda match: case.params[match[1].strip()], given)
    if not re.fullmatch(r"\s*[0-9.]+\s*[A-Za-z]+\s*", text):
        return None
    try:
        return float(parse_timespan(text)) / 60
    except InvalidTimespan:
        raise ExpressionError(f"{text!r} is no time span; 90 (minutes), 2h and 1d are") from None


def _hint(parameters: Sequence[str]) -> str:
    example = f'"{{{parameters[0]}}} * 2"' if parameters else '"2 * 4"'
    return f"a number, or an expression such as {example}, is possible"


def _check_names(where: str, given: str, names: Sequence[str], parameters: Sequence[str]) -> None:
    for name in names:
        if name not in parameters:
            hint = guess(name, list(parameters)) or f"parameters are {', '.join(parameters) or 'none'}"
            raise SweepError(f"{where}: {given!r}: {{{name}}} is no parameter; {hint}")


def _check_case(where: str, given: str, names: Sequence[str], case: Case) -> None:
    for name in names:
        if name not in case.params:
            raise SweepError(f"{where}: {given!r}: {_shown(case)} has no parameter {name}")


def _shown(case: Case) -> str:
    return f"the case {case.name} ({case.place})" if case.place else f"the case {case.name}"
