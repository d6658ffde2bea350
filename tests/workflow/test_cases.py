"""Any text of a cell can be a value of a case. Everything else is refused with file and line."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import sweep_config  # noqa: E402
import sweep_schema  # noqa: E402
import sweep_specs  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template").mkdir()
    return tmp_path


def load(**keys):
    return sweep_config.load({"sweeps": {"s": {"template": "template", "run": ["true"], **keys}}}, SCHEMA)["s"]


def load_csv(data, name="c.csv", **keys):
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return load(cases=name, **keys)


def refused(data, name="c.csv", **keys):
    with pytest.raises(sweep_config.SweepError) as error:
        load_csv(data, name, **keys)
    return str(error.value)


@given(values=st.lists(TEXT, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_quoted_cell_is_a_value_as_it_is(here, values):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["case", "v"], *([f"c{i}", v] for i, v in enumerate(values))])
    assert [case.params["v"] for case in load_csv(out.getvalue()).cases] == values


@given(value=TEXT.filter(lambda v: not set(v) & set('",\r\n')))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cell_without_quotes_loses_blanks_around_it_only(here, value):
    assert load_csv(f"case,v\nc, {value}\t\n").cases[0].params["v"] == value.strip(" \t")


ODD = ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\xa0", "\u200b", "\ufeff", "\x7f",
       "\x1b[0m", "=1+1", "@x", "\\", "e\u0301", "é", "\U0001f600", "'", " x ", '"', "\n", "\r", "{v}", "$v",
       "#", "~", "*"]  # fmt: skip


def test_odd_values_reach_environment_command_and_table(here):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(
        [["case", "v"], *([f"c{i}", f"a{v}b{v}"] for i, v in enumerate(ODD))]
    )
    sweep = load_csv(out.getvalue(), run=["printf '%s' {v} > command", "printf '%s' \"$CASE_v\" > environment"])
    steps = ROOT / "workflow/scripts"
    case = sweep.cases[ODD.index(" x ")]
    for case in sweep.cases:
        arguments = [
            sweep_specs.step(sweep, case, "run"),
            "template",
            f"cases/{case.name}",
            f"done-{case.name}",
            "log",
        ]
        subprocess.run([sys.executable, str(steps / "step.py"), "run", *arguments], check=True)
        for name in ("command", "environment"):
            assert Path("cases", case.name, name).read_bytes() == case.params["v"].encode(), case
    os.makedirs("results/s")
    subprocess.run(
        [sys.executable, str(steps / "collect.py"), "results/s/results.csv", sweep_specs.table_file(sweep, Path("t"))],
        check=True,
    )
    with Path("results/s/results.csv").open(newline="", encoding="utf-8") as f:
        assert list(csv.reader(f, strict=True))[1:] == [[case.name, case.params["v"]] for case in sweep.cases]
    again = load(cases="results/s/results.csv")
    assert [case.params for case in again.cases] == [case.params for case in sweep.cases]


TABLES = [
    ("case;x\na;1\n", "c.csv:1: 'case;x' is one column: commas separate columns here, not semicolons"),
    ("case;x\na;1,5\n", "c.csv:2: 2 cells, but 1 column (case;x); 'case;x' is one column"),
    ("case\tx\na\t1\n", "not tabs"),
    ("sep=,\ncase,x\na,1\n", "c.csv:1: 'sep=,' is a note for spreadsheets"),
    ("sep=;\ncase;x\na;1\n", "c.csv:1: 'sep=;' is a note for spreadsheets"),
    ("case,x,case\na,1,b\n", "c.csv:1: the column 'case' is there twice"),
    ("case,x, x\na,1,2\n", "c.csv:1: the column 'x' is there twice"),
    ("case,x,\na,1,\nb,2,3\n", "c.csv:1: a column has no name: number 3 of 3"),
    ("\n\ncase,x y\na,1\n", "c.csv:3: 'x y' is not a name for a parameter"),
    ("case,1x\na,1\n", "c.csv:1: '1x' is not a name for a parameter"),
    ("case,größe\na,1\n", "c.csv:1: 'größe' is not a name for a parameter"),
    ('case,x\na,"1\n2"\nb\n', "c.csv:4: 1 cell, but 2 columns (case, x)"),
    ('case,x\na,"1\nb,2\n', "c.csv:2: a quote"),
    ('case,x\na,"1"2\n', "c.csv:2: a quote"),
    ("x\n1\r2\n", "c.csv:2: a carriage return in a cell without quotes"),
    ('x\n"1"\r2\n', "c.csv:2: a carriage return in a cell without quotes"),
    ("case,x\na,1\nb,\0\n", "c.csv:3: a NUL character"),
    (b"case,x\na,\xe4\n", "c.csv:2: it cannot be read as text: the byte 0xe4 is no UTF-8"),
    ("case,x\na,1\n".encode("utf-16"), "sweeps.s.cases: c.csv: it cannot be read as text: it is UTF-16"),
    ("case,x\n" + "a" * 201 + ",1\n", "is longer than 200 characters"),
    ("case,x\n,1\n", "c.csv:2: the case has no name"),
    ("x\n" + "y" * 300 + "\n", "c.csv:2: 'x=yyy"),
    ("x\ne\u0301\n", "a column `case` names it otherwise"),
]


@pytest.mark.parametrize(("data", "text"), TABLES, ids=[t[1][:45] for t in TABLES])
def test_a_bad_table_is_named_with_its_line(here, data, text):
    assert text in refused(data)


def test_empty_lines_and_columns_at_the_end_do_not_count(here):
    sweep = load_csv("\ufeffcase,x,,\r\na,1,,\r\n\r\n,,,\r\nb,2,,\r\n,,,,,,\r\n")
    assert [(case.name, dict(case.params), case.place) for case in sweep.cases] == [
        ("a", {"x": "1"}, "c.csv:2"),
        ("b", {"x": "2"}, "c.csv:5"),
    ]


def test_surrogates_and_nul_in_the_configuration_are_refused(here):
    for value in ("\ud800", "a\udc80", "\0"):
        with pytest.raises(sweep_config.SweepError, match=r"sweeps\.s\.cases\[0\]: the value of x holds"):
            load(cases=[{"case": "a", "x": value}])
    with pytest.raises(sweep_config.SweepError, match=r"sweeps\.s\.node: .* holds a character that is no text"):
        load(grid={"x": [1]}, node="a\ud800")


def test_very_many_parameters_work_or_are_refused_with_file_and_line(here):
    def row(count, value):
        return f"case,{','.join(f'p{i}' for i in range(count))}\nc,{','.join([value] * count)}\n"

    for post in ({}, {"post": "true"}):
        text = refused(row(6000, "0.123456"), **post)
        assert "c.csv:2: the 6000 values of the case c and the commands of sweeps.s have" in text
        sweep = load_csv(row(3000, "0.123456"), run=["echo {p2999} $CASE_p0"], **post)
        assert len(json.loads(sweep_specs.step(sweep, sweep.cases[0], "run"))["params"]) == 3000
    step = [
        sys.executable,
        str(ROOT / "workflow/scripts/step.py"),
        "run",
        sweep_specs.step(sweep, sweep.cases[0], "run"),
    ]
    done = subprocess.run([*step, "template", "case", "done", "log"], capture_output=True, check=True)
    assert done.stdout == b"0.123456 0.123456\n"


@pytest.mark.parametrize("value", ["x" * 120_000, "ä" * 30_000, "'" * 30_000])
def test_a_value_that_is_too_long_is_refused_with_file_and_line(here, value):
    text = refused(f"case,x,y\na,1,2\nb,{value},3\n")
    assert "c.csv:3: the 2 values of the case b" in text and "the longest value is x" in text
    assert load_csv(f"case,x,y\na,1,2\nb,{value[:10_000]},3\n").cases


def test_a_hundred_thousand_cases_are_read_in_time(here):
    data = "case,x,y\n" + "".join(f'c{i},{i},"text, {i}"\n' for i in range(100_000))
    began = time.process_time()
    sweep = load_csv(data, run=["echo {x} {y} $(({x}))"], result="r.json")
    sweep_specs.table_file(sweep, here / "tables")
    assert sweep_config.warnings(sweep) == [] and len(sweep.cases) == 100_000
    assert time.process_time() - began < 20


def test_names_that_differ_in_capitals_are_two_cases_where_the_file_system_tells(here, monkeypatch):
    cases = [{"case": "a", "x": 1}, {"case": "A", "x": 2}]
    Path("PROBE").touch()
    if Path("probe").exists():
        with pytest.raises(sweep_config.SweepError, match="does not tell capital from small letters"):
            load(cases=cases)
    else:
        assert len(load(cases=cases).cases) == 2
        monkeypatch.setattr(sweep_config, "_ignores_case", lambda directory: True)
        with pytest.raises(sweep_config.SweepError, match=r"cases\[1\]: the case 'A' has the directory of 'a'"):
            load(cases=cases)


KEYS = [
    ({"tempate": "template", "template": None}, 's.tempate: unknown key; did you mean "template"?'),
    ({"rum": "true", "run": None}, 's.rum: unknown key; did you mean "run"?'),
    ({"mem": "2GB"}, "s.mem: unknown key; write mem_mb: 2000"),
    ({"mem": 2000}, "s.mem: unknown key; write mem_mb: 2000"),
    ({"memory": "1.5 GiB"}, "s.memory: unknown key; write mem_mb: 1611"),
    ({"mem_mb": "2GB"}, "s.mem_mb: '2GB' is no number; write mem_mb: 2000"),
    ({"mem": "much"}, "s.mem: unknown key; write mem_mb: NUMBER, in MB"),
    ({"disk": "10G"}, "s.disk: unknown key; write disk_mb: 10000"),
    ({"walltime": "2h"}, 's.walltime: unknown key; did you mean "runtime"?'),
    ({"gpus": 1}, 's.gpus: unknown key; did you mean "gpu"?'),
    ({"cpus": 4}, 's.cpus: unknown key; did you mean "threads"?'),
]


@pytest.mark.parametrize(("changes", "text"), KEYS, ids=[k[1][:30] for k in KEYS])
def test_an_unknown_key_says_what_to_write(here, changes, text):
    entry = {"template": "template", "run": "true", "grid": {"x": [1]}, **changes}
    with pytest.raises(sweep_config.SweepError) as error:
        sweep_config.load({"sweeps": {"s": {k: v for k, v in entry.items() if v is not None}}}, SCHEMA)
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sweeps:\n  s: {run: a,\n    run: b}\n", "c.yaml:3: the key 'run' is there twice"),
        ("sweeps:\n  s: {grid: {x: [1], y: [2], x: [3]}}\n", "c.yaml:2: the key 'x' is there twice"),
        ("sweeps:\n  s:\n    cases:\n    - {a: 1}\n    - a: 1\n      a: 2\n", "c.yaml:6: the key 'a' is there twice"),
        ("sweeps: {s: {}}\nother: 1\nsweeps: {t: {}}\n", "c.yaml:3: the key 'sweeps' is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(here, text, line):
    Path("c.yaml").write_text(text)
    with pytest.raises(sweep_config.SweepError) as error:
        sweep_schema.check_file("c.yaml")
    assert str(error.value) == line
    Path("c.yaml").write_text("a: 1\na: 2\nsweeps: {s: {run: &x {a: 1}, t: {<<: *x, b: 2}}}\n")
    assert sweep_schema.check_file("c.yaml") == []
    Path("c.yaml").write_text("sweeps: {s: &s [*s, *s]}")
    assert sweep_schema.check_file("c.yaml") == []


def test_values_and_keys_that_yaml_changes_are_told_of(here):
    values = "[010, 1.50, yes, 1_000, 1:30, 1e400, True, '010', 10, 1.5, true, 1e3, 2024-01-01, text, -0.1]"
    Path("c.yaml").write_text(
        f"sweeps:\n  s:\n    threads: 010\n    grid: {{x: {values}}}\n    cases:\n    - x: 0x1F\n"
    )
    notes = sweep_schema.check_file("c.yaml")
    changed = {"010": "8", "1.50": "1.5", "yes": "true", "1_000": "1000", "1:30": "90", "True": "true"}
    want = [f"c.yaml:4: YAML reads {old} as {new}; quotes keep a text: '{old}'" for old, new in changed.items()]
    assert notes == [*want, "c.yaml:6: YAML reads 0x1F as 31; quotes keep a text: '0x1F'"]
    for keys in ({"grid": {True: [1]}}, {"zip": {1: [1]}}, {"cases": [{"a": 1}, {False: 2}]}):
        with pytest.raises(sweep_config.SweepError, match="which is no text; write it in quotes"):
            load(**keys)
