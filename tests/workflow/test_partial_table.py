"""A case that fails is one row: the tables of incomplete sweeps, with real Snakemake and from files alone."""

import csv
import json
from pathlib import Path

from tests.snakemake.harness import Workdir, setting
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
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
