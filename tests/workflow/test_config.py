"""The configuration is read, and the error for each mistake names its key."""

import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import sweep_config  # noqa: E402
import sweep_specs  # noqa: E402

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
GOOD = {"template": "template", "run": ["echo {x}"], "grid": {"x": [1, 2]}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "a").write_text("a")
    return tmp_path


def load(**changes):
    sweep = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return sweep_config.load({"sweeps": {"s": sweep}}, SCHEMA)["s"]


def names(sweep):
    return [case.name for case in sweep.cases]


def test_grid_zip_list_and_file(here):
    assert names(load(grid={"x": [1, 2], "y": ["a"]})) == ["x=1_y=a", "x=2_y=a"]
    assert names(load(grid=None, zip={"x": [1, 2], "y": [3.5, 4]})) == ["x=1_y=3.5", "x=2_y=4"]
    assert names(load(grid=None, cases=[{"case": "one", "x": True}, {"x": 2}])) == ["one", "x=2"]
    (here / "c.tsv").write_text("case\tx\ty\na\t1\tp q\n\nb\t2\t\n")
    sweep = load(grid=None, cases="c.tsv")
    assert names(sweep) == ["a", "b"] and dict(sweep.cases[0].params) == {"x": "1", "y": "p q"}


MISTAKES = [
    ({"runn": ["x"]}, 's.runn: unknown key; did you mean "run"?'),
    ({"run": None}, "sweeps.s.run: is missing"),
    ({"template": "none"}, "sweeps.s.template: there is no directory"),
    ({"template": "."}, "sweeps.s.template: '.' holds results/"),
    ({"threads": [2]}, "sweeps.s.threads: expected integer or text, got [2]"),
    ({"grid": {"x": []}}, "sweeps.s.grid.x: must not be empty"),
    ({"cases": [{"x": 1}]}, "both cases and grid are given"),
    ({"grid": None}, "none of them is given"),
    ({"grid": None, "zip": {"x": [1], "y": [1, 2]}}, "x has 1, y has 2"),
    ({"grid": None, "cases": []}, "there are no cases"),
    ({"grid": None, "cases": "none.csv"}, "there is no file"),
    ({"grid": None, "cases": [{"case": "a/b", "x": 1}]}, "'a/b' is not a name for a case"),
    ({"grid": None, "cases": [{"x": "p q"}]}, "a column `case` names it otherwise"),
    ({"grid": None, "cases": [{"case": "a"}, {"case": "a"}]}, "sweeps.s.cases[1]: the case 'a' is there twice"),
    ({"grid": None, "cases": [{"x y": 1}]}, "'x y' is not a name for a parameter"),
    ({"progress": r"step (\d+)"}, "has 1 group; it needs two"),
    ({"progress": "(("}, "is not a regular expression"),
    ({"pre": "no_such.py"}, "sweeps.s.pre: there is no script"),
    ({"result": "../x.json"}, "inside the case's directory"),
    ({"plot": {"x": "x", "y": "time"}}, "sweeps.s.plot.y: 'time' is no parameter"),
    ({"plot": {"x": "x", "y": "x", "colour": "x"}}, 'plot.colour: unknown key; did you mean "color"?'),
    ({"plot": 3}, "sweeps.s.plot: expected a mapping or a list, got 3"),
    ({"plot": []}, "sweeps.s.plot: must not be empty"),
    ({"plot": [{"x": "x", "y": "x"}, {"x": "x", "y": "xx"}]}, "s.plot[1].y: 'xx' is no parameter, and"),
    ({"plot": [{"x": "x"}]}, "sweeps.s.plot[0].y: is missing"),
    ({"plot": {"x": "x", "y": "x", "kind": "lines"}}, 'plot.kind: "lines" is not known; did you mean "line"?'),
    ({"plot": {"x": "x", "y": "x", "kind": "heatmap"}}, "sweeps.s.plot.color: is missing; it is the value"),
    ({"plot": {"x": "x", "y": "x", "kind": "bar", "logx": True}}, "plot.logx: each value has a place of the same"),
    ({"plot": {"x": "x", "y": "x", "logy": "yes"}}, 'plot.logy: expected true or false, got "yes"'),
    ({"plot": {"x": "x", "y": "x", "log": True}}, 'plot.log: unknown key; did you mean "log'),
    ({"plot": {"x": "x", "y": "x", "logx": True}, "grid": {"x": [1, 0]}}, "plot.logx: '0', a value of 'x', has no"),
    ({"plot": {"x": "x", "y": "x"}, "grid": {"x": ["a", "b"]}}, "plot.y: 'x' has no numbers: 'a'"),
    ({"plot": {"x": "x", "y": "case"}}, "plot.y: 'case' has no numbers: 'x=1'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "text"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_a_mistake_names_its_key(here, changes, text):
    with pytest.raises(sweep_config.SweepError) as error:
        load(**changes)
    assert text in str(error.value)


TABLES = [
    (b"", "is empty"),
    (b"x,y\n", "there are no cases"),
    (b"x,y\n1,2\n3\n", "c.csv:3: 1 cell, but 2 columns (x, y)"),
    (b"x,,y\n1,2,3\n", "c.csv:1: a column has no name"),
    (b"x,x\n1,2\n", "c.csv:1: the column 'x' is there twice"),
    (b"\xff\xfe\x00", "cannot be read as text"),
    (b"case,x\na,1\na,2\n", "c.csv:3: the case 'a' is there twice (first: c.csv:2)"),
]


@pytest.mark.parametrize(("data", "text"), TABLES, ids=[t[1][:30] for t in TABLES])
def test_a_bad_table_is_named_with_its_line(here, data, text):
    (here / "c.csv").write_bytes(data)
    with pytest.raises(sweep_config.SweepError) as error:
        load(grid=None, cases="c.csv")
    assert text in str(error.value)


def test_a_row_inserted_renames_nothing_and_a_changed_command_is_a_reason(here):
    few, more = load(grid={"x": [1, 3]}), load(grid={"x": [1, 2, 3]})
    assert set(names(few)) < set(names(more))
    assert sweep_specs.step(few, few.cases[0], "run") == sweep_specs.step(more, more.cases[0], "run")
    other = load(run=["echo other {x}"])
    assert sweep_specs.step(few, few.cases[0], "run") != sweep_specs.step(other, other.cases[0], "run")
    assert json.loads(sweep_specs.step(few, few.cases[0], "run"))["params"] == {"x": "1"}


def test_the_example_in_the_manual_is_valid():
    text = (ROOT / "config/README.md").read_text()
    example = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    sweep_config.validate(example, SCHEMA)
    documented = {
        key for row in text.splitlines() if row.startswith("| `") for key in row.split("|")[1].split("`")[1::2]
    }
    known = [*SCHEMA["definitions"]["sweep"]["properties"], *SCHEMA["definitions"]["plot"]["properties"]]
    assert documented == set(known), "every key has its row"


def test_warnings_are_lines_and_no_errors(here):
    sweep = load(run=["awk '{print}' {xx} ${HOME} {case} {a b} {x}"])
    words = [warning.split("; ")[1] for warning in sweep_config.warnings(sweep)]
    assert words == ['did you mean "x"?', "the case's name is $CASE"]


def test_a_column_that_looks_like_a_parameter_is_doubted_until_the_columns_are_checked(here):
    def doubts():
        plots = [{"x": "size", "y": "time"}, {"x": "siez", "y": "time"}]
        sweep = load(run=["echo {size}"], grid={"size": [1, 2]}, result="r.json", plot=plots)
        assert [plot.name for plot in sweep.plots] == ["plot-1", "plot-2"]
        return list(sweep_config.warnings(sweep))

    want = """sweeps.s.plot[1].x: 'siez' is no parameter; if it is no result, did you mean "size"?"""
    assert doubts() == [want]
    (here / "results/s/.steps").mkdir(parents=True)
    (here / "results/s/.steps/columns").touch()
    assert doubts() == []
