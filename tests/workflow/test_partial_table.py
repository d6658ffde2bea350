"""A case that fails is one row: the tables of incomplete sweeps, with real Snakemake and from files alone."""

import csv
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from tests.snakemake.harness import Workdir, setting
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import case_state  # noqa: E402
import partial_table  # noqa: E402
import sweep_config  # noqa: E402
import sweep_specs  # noqa: E402

LOCAL = ["--executor", "local", "--cores", "4", "--scheduler", "greedy", "--keep-going"]
MODULE = f"""
configfile: "config/config.yaml"
module harbor:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config
use rule * from harbor as of_*
rule mine:
    default_target: True
    input: "results/demo/results.csv"
"""
CONFIG = r"""
sweeps:
  demo:
    template: template
    cases: cases.csv
    run: "sh case.sh {n}"
    result: r.csv
"""
CASE = r"""
printf 'square,twice\n%d,%d\n' $(( $1 * $1 )) $(( $1 * 2 )) > r.csv
"""


def project(directory, case, numbers, snakefile=MODULE, config=CONFIG):
    work = Workdir(directory, snakefile)
    (directory / "config").mkdir()
    (directory / "config/config.yaml").write_text(config)
    (directory / "template").mkdir()
    (directory / "template/case.sh").write_text(case + CASE)
    (directory / "cases.csv").write_text("case,n\n" + "".join(f"c{n},{n}\n" for n in numbers))
    return work


def table(work, name):
    path = work.directory / f"results/demo/{name}.csv"
    with path.open(newline="") as f:
        return {row["case"]: row for row in csv.DictReader(f)}


def test_of_forty_cases_three_fail_and_two_hang(tmp_path):
    """The profile keeps going. The Snakefile has no handlers, so the executor makes the tables."""
    go = tmp_path / "go"
    case = f'if ! [ -e {go} ]; then\n  case $1 in 7|8|9) echo "no convergence"; exit 3;; 20|30) sleep 300;; esac\nfi\n'
    work = project(tmp_path / "p", case, range(40), config=CONFIG + "    runtime: 1\n")
    options = ("--profile", str(ROOT / "profiles/local"), "--harbor-max-load", "50", "--harbor-hosts", "6/localhost")
    run = work.start(*options, before=setting("jobs.spec.MINUTE_S", 8.0))

    def so_far():
        ended = work.harbor("table", "--json")
        return json.loads(ended.stdout)["sweeps"][0] if ended.returncode == 0 else {"done": 0}

    wait_until(lambda: so_far()["done"] > 3, 30, "rows of a table while the sweep runs")
    assert 3 < len(table(work, "partial")) <= 35
    run.wait(60)
    run.expect(1)
    done, failed = table(work, "partial"), table(work, "failed")
    assert len(done) == 35 and done["c5"] == {"case": "c5", "n": "5", "square": "25", "twice": "10"}
    assert list(failed) == ["c7", "c8", "c9", "c20", "c30"]
    where = {"step": "run", "node": "localhost"}
    reasons = dict.fromkeys(["c20", "c30"], "killed: its runtime was over")
    for name, row in failed.items():
        own = f"run, command 1 of 1 ended with exit code 3: sh case.sh {row['n']}"
        expected = {"case": name, "n": name[1:], **where, "reason": reasons.get(name, own)}
        assert row == {**expected, "log": f"results/demo/logs/run/{name}.log"}
    assert "no convergence" in (work.directory / failed["c7"]["log"]).read_text()
    assert run.text.count("sweep demo: 35 of 40 cases are done: results/demo/partial.csv") == 1
    line = "  c20: step run on localhost: killed: its runtime was over\n    log: results/demo/logs/run/c20.log\n"
    assert line in run.text
    told = work.harbor("table", "demo").stdout
    assert "5 of its cases have failed: results/demo/failed.csv" in told and "c9: step run on localhost: run," in told
    go.touch()
    work.run(*options).expect(0)
    assert len(table(work, "results")) == 40
    assert not work.files("results/demo/partial.csv") and not work.files("results/demo/failed.csv")
    assert work.harbor("table").stdout == "sweep demo: all 40 cases are done: results/demo/results.csv\n"


def test_the_handlers_of_a_project_and_failures_that_are_rows(tmp_path):
    """Other executors than harbor know nothing of sweeps. `on_failure: record` runs only the failed cases again."""
    go, trace = tmp_path / "go", tmp_path / "trace"
    case = f"echo run $1 >> {trace}\n[ $1 != 2 ] || exit 9\n[ $1 != 3 ] || [ -e {go} ] || kill -9 $PPID\n"
    post = f'    post: "echo post {{n}} >> {trace}; test {{n}} != 4"\n'
    start = (ROOT / "examples/start/Snakefile").read_text()
    work = project(tmp_path / "p", case, range(1, 6), start, CONFIG + post)
    run = work.run(*LOCAL).expect(1)
    assert list(table(work, "partial")) == ["c1", "c5"] and run.text.count("sweep demo: 2 of 5 cases are done") == 1
    failed = table(work, "failed")
    assert [(name, row["step"]) for name, row in failed.items()] == [("c2", "run"), ("c3", "run"), ("c4", "post")]
    assert failed["c2"]["reason"] == "run, command 1 of 1 ended with exit code 9: sh case.sh 2"
    assert failed["c3"]["reason"].startswith("it began, and left no word about its end: it was killed")
    assert failed["c4"]["reason"].startswith("post ended with exit code 1: echo post 4")
    assert failed["c4"]["node"] == os.uname().nodename and failed["c4"]["log"] == "results/demo/logs/post/c4.log"
    trace.unlink()
    go.touch()
    config = work.directory / "config/config.yaml"
    config.write_text(config.read_text() + "    on_failure: record\n")
    work.run(*LOCAL).expect(0)
    assert sorted(trace.read_text().splitlines()) == ["post 3", "post 4", "run 2", "run 3"]
    rows = table(work, "results")
    assert list(rows["c3"].items())[-3:] == [("square", "9"), ("twice", "6"), ("failed", "")]
    assert rows["c2"] == {"case": "c2", "n": "2", "square": "", "twice": "", "failed": failed["c2"]["reason"]}
    assert rows["c4"]["square"] == "" and rows["c4"]["failed"] == failed["c4"]["reason"] and len(rows) == 5
    assert not work.files("results/demo/partial.csv") and not work.files("results/demo/failed.csv")


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Return a function that makes a sweep of the case a, which is done, and returns what is found of it."""
    monkeypatch.chdir(tmp_path)
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    for name in (
        "template",
        "results/s/cases/a",
        "results/s/.steps/run",
        "results/s/.steps/post",
        "results/s/logs/run",
    ):
        Path(name).mkdir(parents=True)
    Path("post.py").touch()
    os.utime("post.py", (1, 1))

    def load(run="true"):
        entry = {"template": "template", "cases": [{"case": "a", "x": 1}], "run": run, "post": "post.py"}
        return sweep_config.load({"sweeps": {"s": {**entry, "result": "r.json"}}}, schema)["s"]

    def done():
        for step in ("run", "post"):
            path = f"results/s/.steps/{step}/a"
            Path(path).write_text('{"y": 2}')
            case_state.CaseState(step, sweep_specs.step(load(), load().cases[0], step), path, "log").done()

    def make(told=(), ended=False, **changes):
        file = sweep_specs.table_file(load(**changes), Path("tables"))
        (found,) = partial_table.make({"s": file}, told, ended)
        return found

    done()
    return make


def test_a_case_that_has_to_run_again_is_not_in_the_table(sweep):
    assert sweep()["done"] == 1 and Path("results/s/partial.csv").read_text() == "case,x,y\na,1,2\n"
    assert sweep(run="false")["done"] == 0 and not Path("results/s/partial.csv").exists(), "another command"
    run, post = Path("results/s/.steps/run/a"), Path("results/s/.steps/post/a")
    os.utime(run, (post.stat().st_mtime + 1,) * 2)
    assert sweep()["done"] == 0, "post has to run after run"
    os.utime(run, (1, 1))
    assert sweep()["done"] == 1
    os.utime("post.py", (post.stat().st_mtime + 1,) * 2)
    assert sweep()["done"] == 0, "another script"
    os.utime("post.py", (1, 1))
    Path("results/s/.steps/template").mkdir()
    Path("results/s/.steps/template/.snakemake_timestamp").touch()
    assert sweep()["done"] == 0, "another template"


def test_a_result_that_no_table_can_hold_is_a_failure_of_its_case(sweep):
    Path("results/s/.steps/post/a").write_text("{")
    found = sweep()["failed"][0]
    assert found["step"] == "collect" and found["reason"].startswith("its r.json cannot be read: Expecting property")
    assert Path("results/s/partial.csv").read_text() == "case,x\n"


def test_the_executor_knows_why_a_case_was_killed_and_the_case_why_it_failed(sweep):
    Path("results/s/.steps/run/a").unlink()
    at = os.stat("results/s/.steps/state/a").st_mtime
    told = {"rule": "of_s_run", "case": "a", "node": "ada", "reason": "lost", "log": "l", "started": at, "ended": at}

    def reason(told, ended=False, **state):
        case_state.write_state("results/s/.steps", "a", {"step": "run", "node": "bob", "log": "m", **state})
        return [failed["reason"] for failed in sweep(told, ended)["failed"]]

    assert reason([], state="running") == []
    assert reason([told], state="running") == ["lost"]
    assert reason([told], state="failed", reason="killed by 15", killed=True) == ["lost"]
    assert reason([told], state="failed", reason="exit code 3") == ["exit code 3"]
    assert reason([{**told, "started": at + 60, "ended": at + 60}], state="failed", reason="exit code 3") == ["lost"]
    later = {**told, "started": at - 60, "ended": at - 60}
    assert reason([later], state="failed", reason="killed by 15", killed=True) == ["killed by 15"], "of a later run"
    assert reason([later], state="running") == [], "a later run has begun it again"
    assert reason([{**told, "rule": "s_collect"}], state="running") == []
    assert reason([], state="failed", reason="exit code 3", last={"run": "of another command"}) == []
    assert reason([], ended=True, state="running") == [partial_table.NO_WORD]
    assert sweep()["failed"][0]["node"] == "bob", "a later look finds it, too"
    assert reason([told], ended=True, state="running") == ["lost"]
    assert sweep()["failed"] == [{"case": "a", "step": "run", "node": "ada", "reason": "lost", "log": "l"}]
    group = {**told, "rule": "of_s_run+of_s_post"}
    assert reason([group], state="running", step="post") == ["lost"]
    assert sweep([group])["failed"][0]["step"] == "post", "the step that has begun last"
    assert reason([{**group, "started": at + 60, "ended": at + 60}], state="done", step="post") == ["lost"]
    assert sweep([{**group, "started": at + 60, "ended": at + 60}])["failed"][0]["step"] == "run", "nobody knows"
