"""Read the cases of a sweep from a table, a list, a grid or zipped lists. Name and check them.

Raises SweepError only.
"""

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import csv_table

NAME = re.compile(r"[A-Za-z0-9_=+@%][A-Za-z0-9._=+,@%-]*")
PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST_NAME = 200
SOURCES = ("cases", "grid", "zip")

# A row of the configuration or of a table: (its place, for messages; its cells).
Row = tuple[str, dict[str, str]]


class SweepError(Exception):
    """The configuration is wrong. The message names the file and the key, and says what is wrong."""


@dataclass(frozen=True)
class Case:
    """One row of a sweep, with its name and its parameters as text, in the order of the columns."""

    name: str
    params: Mapping[str, str]
    # The place of its configuration, for messages, such as `cases.csv:3`.
    place: str = field(default="", compare=False)
    # Its directory, if that is not the usual one below results/.
    directory: str = ""
    # What words of the commands become, if the sweep has `words`, and what a class PreProcessor has asked to copy.
    values: Mapping[str, Any] = field(default_factory=dict)
    copies: Mapping[str, Any] = field(default_factory=dict)
    # The case of the configuration and the number of its request, if a class PreProcessor has made this case of it.
    request: tuple[str, int] = ("", 0)


def cases_of(where: str, entry: Mapping[str, Any]) -> tuple[Case, ...]:
    """Return the cases of the sweep at `where`, in order. Each name occurs once."""
    given = [key for key in SOURCES if key in entry]
    if len(given) != 1:
        found = f"{'both ' * (len(given) == 2)}{' and '.join(given)} are given" if given else "none of them is given"
        raise SweepError(f"{where}: exactly one of cases, grid and zip says what the cases are; {found}")
    source = given[0]
    where = f"{where}.{source}"
    if source == "cases" and isinstance(entry["cases"], str):
        rows = read_table(Path(entry["cases"]), where)
    elif source == "cases":
        for i, row in enumerate(entry["cases"]):
            _check_keys(f"{where}[{i}]", row)
        rows = [(f"{where}[{i}]", {str(k): text(v) for k, v in row.items()}) for i, row in enumerate(entry["cases"])]
    else:
        _check_keys(where, entry[source])
        rows = [(where, row) for row in _combine(where, source, entry[source])]
    if not rows:
        raise SweepError(f"{where}: there are no cases")
    prefix = f"{where}: " if isinstance(entry[source], str) else ""
    free = "words" in entry
    cases = tuple(_case(place, row, prefix, free) for place, row in rows)
    seen: dict[str, str] = {}
    for case, (place, _) in zip(cases, rows, strict=True):
        if case.name in seen:
            raise SweepError(f"{prefix}{place}: the case {case.name!r} is there twice (first: {seen[case.name]})")
        seen[case.name] = place
    return cases


def _check_keys(where: str, row: Mapping[Any, Any]) -> None:
    for key in row:
        if not isinstance(key, str):
            raise SweepError(f"{where}: YAML reads the key as {text(key)}, which is no text; write it in quotes")


def text(value: Any) -> str:
    """Return a value of the configuration as a command line shows it. The value true of YAML becomes `true`."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _combine(where: str, source: str, lists: Mapping[str, list[Any]]) -> list[dict[str, str]]:
    if source == "zip" and len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(values)}" for key, values in lists.items())
        raise SweepError(f"{where}: all lists must have the same length; {lengths}")
    rows = itertools.product(*lists.values()) if source == "grid" else zip(*lists.values(), strict=True)
    return [dict(zip(map(str, lists), map(text, row), strict=True)) for row in rows]


def _case(place: str, row: Mapping[str, str], prefix: str, free: bool) -> Case:
    """Return a case. With `free`, a parameter may be called by any word, because commands contain it as a word."""
    where = prefix + place
    params = {key: value for key, value in row.items() if key != "case"}
    for column, value in params.items():
        if not (free and re.fullmatch(r"\S+", column)):
            _check_parameter(where, column)
        if "\0" in value:
            raise SweepError(f"{where}: the value of {column} holds a NUL character, which no command line can")
        if SURROGATE.search(value):
            raise SweepError(
                f"{where}: the value of {column} holds half of a surrogate pair, which is no text: {value!r}"
            )
    if row.get("case") == "":
        raise SweepError(f"{where}: the case has no name: its cell in the column `case` is empty")
    name = row.get("case") or "_".join(f"{key}={value}" for key, value in params.items())
    if not is_name(name):
        how = "" if "case" in row else " (made of its values; a column `case` names it otherwise)"
        why = (
            f"it is longer than {LONGEST_NAME} characters"
            if len(name) > LONGEST_NAME
            else "letters, digits and ._=+,@%- make one, and it does not begin with . , or -"
        )
        raise SweepError(f"{where}: {name[:80]!r} is not a name for a case{how}: {why}")
    return Case(name, params, place)


def is_name(name: str) -> bool:
    """Return True if a case may have this name."""
    return bool(NAME.fullmatch(name)) and len(name) <= LONGEST_NAME


def _check_parameter(where: str, name: str) -> None:
    if not PARAMETER.fullmatch(name):
        raise SweepError(f"{where}: {name!r} is not a name for a parameter (letters, digits, '_')")


def read_table(path: Path, where: str) -> list[Row]:
    """Return the rows of a CSV or TSV file, each with `file:line`. Blanks around a cell without quotes are removed."""
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    try:
        at, header, found = csv_table.read(path, delimiter)
    except FileNotFoundError:
        raise SweepError(f"{where}: there is no file {path.absolute()}") from None
    except OSError as error:
        raise SweepError(f"{where}: {path} cannot be read: {error.strerror}") from error
    except csv_table.TableError as error:
        line = f":{error.line}" if error.line else ""
        raise SweepError(f"{where}: {path}{line}: {error.message}") from error
    for name in header:
        _check_parameter(f"{where}: {path}:{at}", name)
    names = [str(name) for name in header]
    rows = []
    for line, cells in found:
        if not csv_table.blank(cells):
            values = (str(cell) if cell.quoted else cell.strip(" \t") for cell in cells)
            rows.append((f"{path}:{line}", dict(zip(names, values, strict=True))))
    return rows
