"""Each value of a result is in the table, or an error names the case, the file, and the line or key."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

import collect  # noqa: E402
import csv_table  # noqa: E402


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return a function that collects one case with a result file and returns the table's rows or the error."""
    monkeypatch.chdir(tmp_path)

    def make(data, name="r.json", params=None, ran="{}"):
        os.makedirs("results/s/cases/c", exist_ok=True)
        os.makedirs("results/s/.steps/run", exist_ok=True)
        Path("results/s/cases/c", name).write_bytes(data if isinstance(data, bytes) else data.encode())
        Path("results/s/.steps/run/c").write_text(ran)
        params = params or {"x": "1"}
        case = {"case": "c", "params": params, "file": f"cases/c/{name}", "ran": ".steps/run/c"}
        Path("spec").write_text(json.dumps({"parameters": list(params), "cases": [case], "result": name}))
        command = [sys.executable, str(SCRIPTS / "collect.py"), "results/s/results.csv", "spec"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            assert "Traceback" not in done.stderr and not Path("results/s/results.csv").exists()
            return done.stderr
        with Path("results/s/results.csv").open(newline="", encoding="utf-8") as f:
            return list(csv.reader(f, strict=True))

    return make


BAD_CSV = [
    ("time,u,u\n0,1,2\n", "line 1: the column 'u' is there twice"),
    ("time,u, u\n0,1,2\n", "line 1: the column 'u' is there twice"),
    ("time,,u\n0,1,2\n", "line 1: a column has no name: number 2 of 3"),
    ("time,u,\n0,1,\n0,1,2\n", "line 1: a column has no name: number 3 of 3"),
    ("time;u\n0;1\n", "line 1: 'time;u' is one column: commas separate columns here, not semicolons"),
    ("time;u\n0,5;1,2\n", "line 2: 3 cells, but 1 column (time;u); 'time;u' is one column"),
    ("time\tu\n0\t1\n", "not tabs"),
    ("sep=,\ntime,u\n0,1\n", "line 1: 'sep=,' is a note for spreadsheets"),
    ("sep=;\ntime;u\n0;1\n", "line 1: 'sep=;' is a note for spreadsheets"),
    ("a,b\n1,2\n3\n", "line 3: 1 cell, but 2 columns (a, b)"),
    ('a,b\n"1\n2",3\n4\n', "line 4: 1 cell, but 2 columns"),
    ('a,b\n"1,2\n3,4\n', "line 2: a quote"),
    ("a,b\n1,\0\n", "line 2: a NUL character"),
    (b"a,b\n1,2\n3,\xe9\n", "line 3: it cannot be read as text: the byte 0xe9 is no UTF-8"),
    ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ("", "it is empty"),
    ("\n\n", "it is empty"),
    ("a,b\n", "it has no rows"),
    ("result.x,x\n1,2\n", "a column 'result.x', and a column 'x', which differs"),
]


@pytest.mark.parametrize(("data", "text"), BAD_CSV, ids=[b[1][:40] for b in BAD_CSV])
def test_a_csv_with_a_mistake_is_named_with_its_line(table, data, text):
    found = table(data, "r.csv")
    assert isinstance(found, str) and text in found
    assert "cases/c/r.csv" in found or "result.x" in found


BAD_JSON = [
    ('{"a": 1, "a": 2}', "the key 'a' is there twice in one object"),
    ('{"z": {"a": 1, "b": 1, "a": 2}}', "the key 'a' is there twice in one object"),
    ('{"a": {"b": 1}, "a.b": 2}', "the key 'a.b' is there twice: with a dot"),
    ('{"a": {"b": {"c": 1}}, "a.b": {"c": 1}}', "the key 'a.b.c' is there twice"),
    ('{"": 1}', "a key is empty"),
    ('{"a": {" ": 1}}', "a key is empty in a"),
    ('{"a": "\\u0000"}', "the key 'a': its name or value holds"),
    ('{"a\\ud800": 1}', "its name or value holds"),
    ('{"a": ["\\ud800"]}', "the key 'a': its name or value holds"),
    ('{"a":\n' + "[" * 100_000 + "]" * 100_000 + "}", "line 2: lists and objects are more than 200 deep"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "line 1: lists and objects are more than 200 deep"),
    ('{"a": 1}\n{"a": 2}', "Extra data: line 2"),
    ('{"a": 1,\n "b": }', "line 2 column"),
    (b'{\n"a": "\xff"}', "line 2: it cannot be read as text"),
    ('{"a": 1\0}', "line 1: a NUL"),
    ("3", "neither a JSON object nor a list of objects"),
    ("[]", "it has no rows"),
    ("", "Expecting value: line 1"),
]


@pytest.mark.parametrize(("data", "text"), BAD_JSON, ids=[b[1][:40] for b in BAD_JSON])
def test_json_with_a_mistake_is_named_with_its_key_or_line(table, data, text):
    found = table(data)
    assert isinstance(found, str) and text in found and "cases/c/r.json" in found


GOOD = [
    (b"\xef\xbb\xbfa,b\r\n1,2\r\n", "r.csv", [["a", "b"], ["1", "2"]]),
    (b"a,b\r1,2\r", "r.csv", [["a", "b"], ["1", "2"]]),
    ("a,b,,\n1,2,,\n\n3,4,,\n,,,\n", "r.csv", [["a", "b"], ["1", "2"], ["3", "4"], ["", ""]]),
    ('a,"b c"\n" 1 ","2""\n3"\n', "r.csv", [["a", "b c"], [" 1 ", '2"\n3']]),
    ("a\tb\n1,5\t2;5\n", "r.tsv", [["a", "b"], ["1,5", "2;5"]]),
    ("a,case\n1,c\n", "r.csv", [["a"], ["1"]]),
    ("a,case\n1,d\n", "r.csv", [["a", "result.case"], ["1", "d"]]),
    ("x,a\n1,5\n2,6\n", "r.csv", [["result.x", "a"], ["1", "5"], ["2", "6"]]),
    ('\ufeff{"a": NaN, "b": -Infinity}', "r.json", [["a", "b"], ["NaN", "-Infinity"]]),
    ('{"a": %s, "b": 1.10e400}' % ("9" * 5000), "r.json", [["a", "b"], ["9" * 5000, "1.10e400"]]),
    ('{"a": [1.10, %s, NaN, {"b": 1e999}]}' % ("9" * 5000), "r.json",
     [["a"], ["[1.10, " + "9" * 5000 + ', NaN, {"b": 1e999}]']]),
    ('{"a": {}, "b": [], "c": null, "d": true, "e": {"f": {"g": "h"}}}', "r.json",
     [["a", "b", "c", "d", "e.f.g"], ["{}", "[]", "", "true", "h"]]),
    ('{"a": "x\\r\\u2028y\\u0085\\u000bz"}', "r.json", [["a"], ["x\r\u2028y\x85\x0bz"]]),
    ('{"a": ' + "[" * 150 + "]" * 150 + "}", "r.json", [["a"], ["[" * 150 + "]" * 150]]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "name", "rows"), GOOD, ids=range(len(GOOD)))
def test_what_is_no_mistake_is_in_the_table(table, data, name, rows):
    want = [["case", "x", *rows[0]]] + [["c", "1", *row] for row in rows[1:]]
    assert table(data, name) == want


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(cells=st.lists(TEXT, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_reader_finds_the_cells_that_were_written(cells):
    line = csv_table.written(cells)
    if any(cells):
        assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [cells]
    assert [list(map(str, found)) for _, found in csv_table.rows(line * 2, ",")] == [cells] * 2


def test_a_result_of_ten_megabytes_is_read(table, monkeypatch):
    monkeypatch.setattr(csv, "reader", lambda f, strict: [next(f).strip().split(","), next(f).strip().split(",")])
    assert len(table(json.dumps({"a": "x" * 10_000_000}))[1][2]) == 10_000_000


def test_all_cases_with_a_fault_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cases = []
    for i in range(13):
        os.makedirs(f"cases/{i}")
        Path(f"ran{i}").write_text("")
        cases.append({"case": f"{i}", "params": {}, "file": f"cases/{i}/r.json", "ran": f"ran{i}"})
    Path("spec").write_text(json.dumps({"parameters": [], "cases": cases, "result": "r.json"}))
    monkeypatch.setattr(sys, "argv", ["collect.py", "results.csv", "spec"])
    with pytest.raises(SystemExit) as error:
        collect.main()
    text = str(error.value)
    assert text.count("left no r.json") == 10 and text.endswith("... and 3 cases more")
