"""`only` selects cases by their names or by a condition, and says what is wrong with it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import sweep_selection  # noqa: E402
from sweep_cases import Case, SweepError  # noqa: E402


def sweep(name, *rows):
    cases = tuple(Case(case, params, f"{name}.csv:{line}") for line, (case, params) in enumerate(rows, 2))
    parameters = tuple(dict.fromkeys(key for case in cases for key in case.params))
    return SimpleNamespace(name=name, cases=cases, parameters=parameters)


SWEEPS = {
    "one": sweep("one", *((f"c0{n}", {"size": f"{n}00", "seed": f"{n % 2}"}) for n in range(1, 6))),
    "two": sweep("two", ("c01", {"temp": "3", "host": "ada"}), ("x=1,2", {"temp": "4"}), ("010", {"temp": "5"})),
}

SELECTED = [
    (None, "c01 c02 c03 c04 c05 / c01 x=1,2 010"),
    ("c01", "c01 / c01"),
    ("c01, c05,", "c01 c05 / c01"),
    (["c05", "x=1,2"], "c05 / x=1,2"),
    ("x=1,2", "/ x=1,2"),
    ("010", "/ 010"),
    ("size>100 and seed==1", "c03 c05 /"),
    ("case in ('c01', '010')", "c01 / c01 010"),
    ("case >= 'x' or temp == 5", "/ x=1,2 010"),
    ("not temp < 4", "/ x=1,2 010"),
    ("host == 'ada'", "/ c01"),
    ("size==100", "c01 /"),
]


@pytest.mark.parametrize(("only", "names"), SELECTED)
def test_which_cases_are_selected(only, names):
    found = sweep_selection.select(only, SWEEPS)
    assert " / ".join(" ".join(case.name for case in found[name]) for name in ("one", "two")).strip() == names
    assert sweep_selection.is_part(SWEEPS["one"], found) == ("/" in names and 0 < len(names.split("/")[0].split()) < 5)


MISTAKES = [
    ("c01,c09", "only: there is no case 'c09'; did you mean"),
    ("zzz", "only: there is no case 'zzz'; cases are 010, c01, c02, c03, c04, ..."),
    (
        "size=100",
        "only: there is no case 'size=100'; cases are 010, c01, c02, c03, c04, ...; a condition compares",
    ),
    ("size = 100", "only: 'size = 100': it cannot be read; `==` compares"),
    ("sise > 100", "only: 'sise > 100': sise is no parameter; did you mean \"size\""),
    ("case == c01", "only: 'case == c01': c01 is no parameter; parameters are case, host, seed, size, temp; a text is"),
    ("size > 100 and temp > 1", "no sweep has all of the parameters size, temp"),
    ("size > 900", "only: 'size > 900': none of 5 cases is selected"),
    ("host > 3", "only: 'host > 3': for the case c01 (two.csv:2): the text 'ada' is compared with the number 3"),
    ("", "only: it is empty"),
    (" , ", "only: it is empty"),
    ([], "only: it is empty"),
    ({"a": 1}, "got a mapping"),
    ("open('x')", "only the functions ceil"),
    ("size + 1", "a condition compares by ==, <, > or in"),
]


@pytest.mark.parametrize(("only", "text"), MISTAKES)
def test_a_wrong_selection_says_why(only, text):
    with pytest.raises(SweepError) as error:
        sweep_selection.select(only, SWEEPS)
    assert text in str(error.value)
