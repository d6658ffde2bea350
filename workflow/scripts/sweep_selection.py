"""Select some cases of the sweeps: `--config only=c01,c05` or `--config only="size>100 and seed==1"`.

This module runs in Snakemake's own process and raises SweepError only.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from expressions import Expression, ExpressionError
from sweep_cases import Case, SweepError, is_name, text
from sweep_schema import guess

Selection = dict[str, tuple[Case, ...]]


def select(only: Any, sweeps: Mapping[str, Any]) -> Selection:
    """Return the selected cases of each sweep: all of them without `only`.

    `only` is a text or a list of names. Names of cases, separated by commas, select in each sweep that has the case.
    Another text is a condition, for each sweep that has its parameters.
    """
    if only is None:
        return {name: sweep.cases for name, sweep in sweeps.items()}
    if isinstance(only, Mapping):
        raise SweepError("only: expected names of cases or a condition, got a mapping")
    known = {case.name for sweep in sweeps.values() for case in sweep.cases}
    given = text(only).strip() if not isinstance(only, Sequence) or isinstance(only, str) else None
    names = [given] if given in known else _parts(only if given is None else given.split(","))
    if not names:
        raise SweepError("only: it is empty; names of cases (c01,c05) or a condition (size>100) are possible")
    if given is not None and not known.issuperset(names):
        try:
            condition = Expression(given, conditions=True)
        except ExpressionError as error:
            if not all(map(is_name, names)):
                raise SweepError(f"only: {given!r}: {error}") from None
        else:
            if condition.is_condition:
                return _by_condition(given, condition, sweeps)
    return _by_name(names, known, sweeps)


def is_part(sweep: Any, selection: Selection) -> bool:
    """Return True if some cases of the sweep are selected, and some are not."""
    return 0 < len(selection[sweep.name]) < len(sweep.cases)


def _parts(given: Iterable[Any]) -> list[str]:
    return [part for each in given if (part := text(each).strip())]


def _by_name(names: Sequence[str], known: Iterable[str], sweeps: Mapping[str, Any]) -> Selection:
    for name in names:
        if name not in known:
            some = sorted(known)[:5]
            hint = guess(name, list(known)) or f"cases are {', '.join(some)}{', ...' * (len(known) > 5)}"
            compares = "; a condition compares by ==, <, > or in" if re.search(r"\W", name) else ""
            raise SweepError(f"only: there is no case {name!r}; {hint}{compares}")
    return {name: tuple(case for case in sweep.cases if case.name in {*names}) for name, sweep in sweeps.items()}


def _by_condition(given: str, condition: Expression, sweeps: Mapping[str, Any]) -> Selection:
    parameters = {name: {"case", *sweep.parameters} for name, sweep in sweeps.items()}
    every = sorted(set().union(*parameters.values()))
    for name in condition.names:
        if name not in every:
            hint = guess(name, every) or f"parameters are {', '.join(every)}"
            quotes = f"; a text is in quotes: {name!r}"
            raise SweepError(f"only: {given!r}: {name} is no parameter; {hint.rstrip('?')}{quotes}")
    apply = [sweep for name, sweep in sweeps.items() if parameters[name].issuperset(condition.names)]
    if not apply:
        raise SweepError(f"only: {given!r}: no sweep has all of the parameters {', '.join(condition.names)}")
    selection: Selection = dict.fromkeys(sweeps, ())
    for sweep in apply:
        selection[sweep.name] = tuple(case for case in sweep.cases if _holds(given, condition, case))
    if not any(selection.values()):
        count = sum(len(sweep.cases) for sweep in apply)
        raise SweepError(f"only: {given!r}: none of {count} cases is selected")
    return selection


def _holds(given: str, condition: Expression, case: Case) -> bool:
    """Return whether a case is selected. A case without one of the parameters is not."""
    values = {**case.params, "case": case.name}
    if not values.keys() >= {*condition.names}:
        return False
    try:
        return condition.holds(values)
    except ExpressionError as error:
        raise SweepError(f"only: {given!r}: for the case {case.name} ({case.place}): {error}") from None
