"""Check the plots of a sweep, and compute what their rules need.

This module runs in Snakemake's own process while the Snakefile is read. It raises SweepError only.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plot_data import COLUMNS, number, value_key
from sweep_cases import Case, SweepError
from sweep_schema import guess

# A column that is so similar to a parameter is probably meant to be the parameter.
SIMILAR = 0.7


@dataclass(frozen=True)
class Plot:
    """One plot after all checks. `name` is that of its files, and `keys` holds `where` and the keys that are given."""

    name: str
    key: str
    keys: Mapping[str, Any]
    # The columns that only the results of the cases can have.
    of_results: tuple[str, ...]

    def spec(self) -> str:
        """Return the plot as JSON for plot.py."""
        return json.dumps(self.keys, sort_keys=True)


def plots_of(sweep: str, given: Any, result: str | None, cases: Sequence[Case]) -> tuple[Plot, ...]:
    """Return the plots of a sweep: none, one of the name `plot`, or `plot-1`, `plot-2` and so on for a list."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return (_plot(sweep, "plot", "plot", given, result, cases),)
    return tuple(_plot(sweep, f"plot-{at + 1}", f"plot[{at}]", plot, result, cases) for at, plot in enumerate(given))


def _plot(sweep: str, name: str, key: str, given: Mapping[str, Any], result: str | None, cases: Sequence[Case]) -> Plot:
    where = f"sweeps.{sweep}.{key}"
    keys = {"kind": "line", **given, "where": where}
    parameters = list(dict.fromkeys(key for case in cases for key in case.params))
    used = [keys[key] for key in COLUMNS if key in keys]
    plot = Plot(name, key, keys, tuple(column for column in used if column not in ("case", *parameters)))
    _check_keys(where, keys)
    for key in COLUMNS:
        if keys.get(key) in plot.of_results and not result:
            hint = guess(keys[key], parameters) or f"parameters are {', '.join(parameters)}"
            raise SweepError(f"{where}.{key}: {keys[key]!r} is no parameter, and there is no `result`; {hint}")
    for key in ("x", "y", "color"):
        if keys.get(key) in ("case", *parameters):
            values = [{"case": case.name, **case.params}.get(keys[key], "") for case in cases]
            _check_values(where, keys, key, values)
    return plot


def _check_keys(where: str, keys: Mapping[str, Any]) -> None:
    kind = keys["kind"]
    if kind == "heatmap" and "color" not in keys:
        raise SweepError(f"{where}.color: is missing; it is the value that a heatmap shows at x and y")
    for axis in ("x", "y"):
        if f"log{axis}" in keys and (kind == "heatmap" or (kind == "bar" and axis == "x")):
            raise SweepError(f"{where}.log{axis}: each value has a place of the same width with kind: {kind}")


def _check_values(where: str, keys: Mapping[str, Any], key: str, texts: Sequence[str]) -> None:
    """Check that the values of a parameter can be drawn as numbers where they have to be."""
    values = [number(text) for text in texts]
    if key == value_key(keys) and all(value is None for value in values):
        raise SweepError(f"{where}.{key}: {keys[key]!r} has no numbers: {texts[0]!r}")
    if keys.get(f"log{key}"):
        for text, value in zip(texts, values, strict=True):
            if value is None or value <= 0:
                raise SweepError(
                    f"{where}.log{key}: {text!r}, a value of {keys[key]!r}, has no place on a logarithmic axis"
                )


def doubts(plot: Plot, parameters: Sequence[str]) -> list[str]:
    """Return warnings about columns that look like a parameter with a typo."""
    found = []
    for key in COLUMNS:
        close = difflib.get_close_matches(plot.keys.get(key, ""), parameters, n=1, cutoff=SIMILAR)
        if close and plot.keys[key] in plot.of_results:
            column = plot.keys[key]
            found.append(
                f'{plot.key}.{key}: {column!r} is no parameter; if it is no result, did you mean "{close[0]}"?'
            )
    return found
