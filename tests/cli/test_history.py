"""`harbor history`, `harbor jobs` and `--run` tell runs of yesterday."""

import csv
import io
import json

import pytest

from snakemake_executor_plugin_harbor.cli import main
from tests.past_runs import FIRST, Past, dead


@pytest.fixture
def past(tmp_path, monkeypatch):
    past = Past(tmp_path, monkeypatch)
    past.first = past.write("one", succeeded=35, failed=5).run
    past.killed = past.write("one", end=None, owner=dead(), succeeded=2, running=1, at=FIRST + 100).run
    past.other = past.write("two", succeeded=1).run
    monkeypatch.chdir(past.directory("one"))
    return past


@pytest.fixture
def harbor(capsys):
    def call(*words):
        code = main(words)
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return call


def test_the_runs_of_this_directory_and_of_all(past, harbor):
    lines = harbor("history").splitlines()
    assert lines[0].split() == ["run", "began", "state", "jobs", "done", "failed", "took"]
    assert lines[1].split()[0] == past.first and lines[1].split()[3:] == ["ended", "40", "35", "5", "1:00"]
    assert lines[2].split()[0] == past.killed and lines[2].split()[3:] == ["killed", "3", "2", "0", "1:39"]
    assert len(lines) == 3
    lines = harbor("history", "--all").splitlines()
    assert len(lines) == 4 and lines[3].startswith(past.other) and lines[3].endswith(str(past.directory("two")))
    runs = json.loads(harbor("history", "--json"))["runs"]
    assert [run["run"] for run in runs] == [past.first, past.killed]
    assert (runs[0]["succeeded"], runs[0]["failed"], runs[0]["started"]) == (35, 5, FIRST)
    assert runs[0]["directory"] == str(past.directory("one")) and runs[0]["counts"] == {"failed": 5, "succeeded": 35}


def test_a_directory_without_a_run(past, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["history"]) == 1
    assert "harbor history --all" in capsys.readouterr().err
    assert main(["history", "--json"]) == 0 and json.loads(capsys.readouterr().out) == {"runs": []}


def test_every_job_of_a_run(past, harbor):
    lines = harbor("jobs", "--run", past.first).splitlines()
    assert len(lines) == 41 and lines[0].split()[:5] == ["job", "rule", "case", "state", "node"]
    cells = lines[36].split()
    assert cells[:7] == ["36", "case", "case=c36", "failed", "ada", "1", "1"]
    assert cells[9:] == ["0:02", "0:10", "5.2", "96", "MiB"]
    assert lines[1].split()[3:6] == ["succeeded", "ada", "0"]
    assert len(harbor("jobs", "--run", past.first[-6:], "--failed").splitlines()) == 6
    shown = json.loads(harbor("jobs", "--run", past.first, "--json", "--failed"))
    assert shown["run"] == past.first and len(shown["jobs"]) == 5
    job = shown["jobs"][0]
    assert (job["wildcards"], job["exit"], job["attempts"], job["reason"]) == ({"case": "c36"}, 1, 1, "exit code 1")
    assert (job["wait_s"], job["duration_s"], job["cpu_s"], job["peak_mb"]) == (2, 10.5, 5.25, 96)
    rows = list(csv.DictReader(io.StringIO(harbor("jobs", "--run", past.first, "--csv"))))
    assert len(rows) == 40 and rows[35]["case"] == "case=c36" and rows[35]["state"] == "failed"
    assert float(rows[0]["cpu_s"]) == 5.25 and rows[0]["started"][10] == "T"


def test_jobs_without_an_end_and_no_jobs(past, harbor):
    running = harbor("jobs").splitlines()[3]
    assert running.split()[3:6] == ["running", "ada", "-"] and running.split()[-2:] == ["-", "-"]
    assert "no job that failed" in harbor("jobs", "--failed")
    assert harbor("jobs", "--failed", "--csv").startswith("job,rule,case,state,node,exit,attempts,submitted,")


def test_every_command_that_shows_a_run_takes_its_name(past, harbor, tmp_path, capsys):
    log = past.directory("one") / ".snakemake/harbor_logs/case/36.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("it broke\n")
    assert harbor("log", "36", "--run", past.first[-6:]) == "it broke\n"
    assert "exit code 1" in harbor("explain", "36", "--run", past.first)
    assert "35 of 40 jobs done" in harbor("status", "--run", past.first)
    assert json.loads(harbor("status", "--json"))["run"] == past.killed, "without the option: the last run"
    assert main(["status", "--run", "nothing"]) == 1
    assert "harbor history --all" in capsys.readouterr().err
