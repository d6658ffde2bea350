"""Cases with resources of their own, runs of some cases, and cases that run again by `harbor rerun`."""

import re
from pathlib import Path

from tests.snakemake.harness import Workdir

SNAKEFILE = str(Path(__file__).parents[2] / "workflow" / "Snakefile")
HARBOR = ["-s", SNAKEFILE, "--executor", "harbor", "--jobs", "9", "--harbor-hosts", "4/localhost"]
HARBOR += ["--harbor-max-load", "50", "--keep-going"]
CONFIG = """
sweeps:
  s:
    template: template
    cases: cases.csv
    run: echo run $CASE $OMP_NUM_THREADS >> $HERE/trace; test ! -e $HERE/broken || test {n} != 3
    post: "echo post $CASE >> $HERE/trace; echo '{\\"y\\": 1}' > r.json"
    result: r.json
    threads: "{n}"
    mem_mb: "{n} * 100 / 3"
    node: "{host}"
  d:
    template: template
    cases: [{case: c1, n: 5}]
    directory: elsewhere/{case}
    run: echo run in $(basename $(dirname $PWD)) >> $HERE/trace
"""


def test_some_cases_run_with_their_resources_and_run_again(tmp_path):
    work = Workdir(tmp_path / "project", "")
    here = work.directory
    for name in ("config", "template", "elsewhere"):
        (here / name).mkdir()
    (here / "template/file").touch()
    (here / "config/config.yaml").write_text(CONFIG.replace("$HERE", str(here)))
    (here / "cases.csv").write_text("case,n,host\nc1,1,\nc2,2,localhost\nc3,3,localhost\n")
    (here / "broken").touch()
    tables = [here / "results" / name / "results.csv" for name in "sd"]

    def trace():
        lines = sorted((here / "trace").read_text().splitlines())
        (here / "trace").unlink()
        return lines

    only = ["--config", "more=1", "only=n<=3 and not (case == 'c2' or \"x\" in case)"]
    run = work.run(*HARBOR, "all", *only).expect(1)
    assert "only: 2 of 3 cases of s are selected" in run.text
    assert "mem_mb=34," in run.text and "mem_mb=100," in run.text and run.text.count("node=localhost") == 1
    assert trace() == ["post c1", "run c1 1", "run c3 3"] and not any(table.exists() for table in tables)

    partial = here / "results/s/partial.csv"
    assert partial.read_text() == "case,n,host,y\nc1,1,,1\n", "the cases that are done"

    (here / "broken").unlink()
    told = work.harbor("rerun", "c1", "c3", "--yes")
    assert told.returncode == 0, told.stderr
    assert "--config more=1 only=c1,c3 --forcerun results/s/cases/c1 results/s/cases/c3\n" in told.stdout
    assert trace() == ["post c1", "post c3", "run c1 1", "run c3 3", "run in elsewhere"], "done, failed, and new"
    assert partial.read_text() == "case,n,host,y\nc1,1,,1\nc3,3,localhost,1\n"

    told = work.harbor("rerun", "c1", "--yes")
    assert told.returncode == 0, told.stderr
    assert trace() == ["post c1", "run c1 1", "run in elsewhere"]

    refused = work.run(*HARBOR, "--config", "only=c1", "--", "results/s/results.csv").expect(1)
    assert "configuration: only: 1 of 3 cases of s are selected, and results/s/results.csv holds all" in refused.text

    (here / "cases.csv").write_text("case,n,host\nc1,1,\nc2,2,localhost\n")
    run = work.run(*HARBOR).expect(0)
    assert trace() == ["post c2", "run c2 2"] and all(table.exists() for table in tables) and not partial.exists()
    assert "results/s/cases still holds 1 cases that the configuration no longer has: c3" in run.text
    assert re.search(r"\ns +c3 +0.0 MiB\n", work.harbor("clean", "--cases").stdout) and work.files("results/s/cases/c3")
    assert "removed 1 cases" in work.harbor("clean", "--cases", "--yes").stdout
    assert work.files("results/s/cases/*") == ["c1", "c2"] and work.files("results/s/.steps/post/*") == ["c1", "c2"]
