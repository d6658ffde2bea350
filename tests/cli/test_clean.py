"""`harbor clean` shows what lies here and on nodes, asks, and removes."""

import io
import json
import os
import sys

import pytest

from snakemake_executor_plugin_harbor.cli import main
from snakemake_executor_plugin_harbor.core.model import StoredRecords
from snakemake_executor_plugin_harbor.store.leftovers import Leftovers
from snakemake_executor_plugin_harbor.views import clean as view
from tests.past_runs import FIRST, Past


@pytest.fixture
def past(tmp_path, monkeypatch):
    past = Past(tmp_path, monkeypatch)
    past.write("one", succeeded=2)
    past.here = past.directory("one")
    monkeypatch.chdir(past.here)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return past


def test_it_shows_and_removes_only_with_consent(past, monkeypatch, capsys):
    assert main(["clean", "--here"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["place", "what", "number", "size", "where", "stays", "because"]
    assert "journals" in out and "Try: harbor clean --yes" in out and len(os.listdir(past.runs)) == 1
    assert main(["clean", "--here", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["removed"] is False and [row["what"] for row in shown["leftovers"]] == ["journals"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["clean", "--here"]) == 0 and len(os.listdir(past.runs)) == 1
    assert "Remove" in capsys.readouterr().out
    assert main(["clean", "--here", "--yes"]) == 0 and os.listdir(past.runs) == []
    assert "removed " in capsys.readouterr().out
    assert main(["clean", "--here"]) == 0 and capsys.readouterr().out == "nothing is left here\n"
    assert main(["status"]) == 1 and "was removed, by `harbor clean`" in capsys.readouterr().err


def test_nodes(past, tmp_path, capsys):
    spool = tmp_path / "scratch/spool/260101-000000-aaaaaa"
    spool.mkdir(parents=True, mode=0o700)
    (tmp_path / "scratch").chmod(0o700)
    mine = Leftovers(past.here).id
    for number, owner in enumerate((mine, mine, "another")):
        record = {"boot_id": "x", "owner": owner, "code": 0, "where": [str(past.here), None]}
        (spool / f"{number}.1.job").write_text(json.dumps(record) + "\n")
    hosts = {"hosts": ["localhost", "127.0.1.99:1"], "scratch": str(tmp_path / "scratch")}
    past.write("one", settings=hosts, succeeded=1)
    assert main(["clean", "--yes", "--json"]) == 0, "the nodes of the last run"
    rows = json.loads(capsys.readouterr().out)["leftovers"]
    assert [(row["place"], row["what"], row["number"]) for row in rows if row["place"] != "this machine"] == [
        ("localhost", "records", 2),
        ("localhost", "records", 1),
        ("127.0.1.99", "not asked", 0),
    ]
    assert rows[1]["kept"] == "" and "harbor clean --all" in rows[2]["kept"] and rows[3]["kept"]
    assert os.listdir(spool) == ["2.1.job"] and os.listdir(past.runs) == []


def test_without_nodes(past, tmp_path, monkeypatch, capsys):
    assert main(["clean"]) == 0, "the nodes of the last run: localhost, without settings"
    assert "journals" in capsys.readouterr().out
    (past.here / ".snakemake/harbor/run.json").unlink()
    assert main(["clean"]) == 0
    assert "the nodes     not asked" in (out := capsys.readouterr().out) and "--hosts names them" in out
    monkeypatch.chdir(tmp_path)
    assert main(["clean"]) == 0 and capsys.readouterr().out == "nothing is left here\n"
    assert main(["clean", "--profile", "nowhere"]) == 1 and "nowhere" in capsys.readouterr().err


def test_which_records_of_a_node_stay(past):
    found = Leftovers(past.here)
    old = FIRST - 20 * 86400
    stored = [
        StoredRecords(found.id, str(past.here), 3, 0, 10, FIRST),
        StoredRecords("busy", "/a", 2, 1, 20, old),
        StoredRecords("new", "/b", 2, 0, 30, FIRST),
        StoredRecords("old", "/c", 2, 0, 40, old),
    ]
    rows = view.on_node("ada", stored, found, everywhere=True)
    assert [(row["owner"], row["kept"]) for row in rows] == [
        (found.id, ""),
        ("busy", "1 jobs run"),
        ("new", "of another directory: type harbor clean there"),
        ("old", ""),
    ]
    mine, others = view.on_node("ada", stored, found, everywhere=False)
    assert mine["kept"] == "" and (others["number"], others["bytes"]) == (6, 90) and others["kept"]
    past.write("one", failed=1, complete=False)
    assert "not complete" in view.on_node("ada", stored, Leftovers(past.here), everywhere=True)[0]["kept"]
