"""A sweep from configuration to table, with real Snakemake, on one machine and on four real SSH nodes."""

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir, on
from tests.sshd import SSHD, hosts

ROOT = Path(__file__).parents[2]
SNAKEFILE = str(ROOT / "workflow" / "Snakefile")
LOCAL = ["--executor", "local", "--cores", "4", "--scheduler", "greedy"]
PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

CONFIG = """
sweeps:
  demo:
    template: template
    cases: cases.csv
    pre: pre.sh
    run: ["cat number.txt > out.txt", "echo $(( $(cat number.txt) * {factor} )) >> out.txt; awk '{print $1}' out.txt"]
    post: post.py
    result: result.json
"""


@pytest.fixture
def sweep(tmp_path):
    """Return a project with a small sweep, whose runs use the shipped Snakefile."""

    def make(name="sweep", config=CONFIG):
        work = Workdir(tmp_path / name, "")
        here = work.directory
        (here / "config").mkdir()
        (here / "config/config.yaml").write_text(config)
        (here / "template").mkdir()
        (here / "template/base.txt").write_text("1\n")
        (here / "cases.csv").write_text("case,factor,note\na,2,it's\nb,3,\n")
        (here / "pre.sh").write_text('echo "pre $CASE $CASE_note" >> ../../../../trace\ncp base.txt number.txt\n')
        (here / "post.py").write_text(
            "import json, os\nvalue = int(open('out.txt').read().split()[1])\n"
            "json.dump({'value': value, 'half': value / 2, 'deep': {'er': [1, 2.50]}}, open('result.json', 'w'))\n"
            "open('../../../../trace', 'a').write('post %s\\n' % os.environ['CASE'])\n"
        )
        return work

    return make


def rows(work, name="demo"):
    with (work.directory / f"results/{name}/results.csv").open(newline="") as f:
        return list(csv.reader(f))


def trace(work):
    path = work.directory / "trace"
    text = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return text


def test_table_and_what_a_change_runs_again(sweep):
    """A change of a case, the template, a script or a command runs exactly what it affects again."""
    work = sweep()
    here = work.directory

    def again():
        work.run("-s", SNAKEFILE, *LOCAL).expect(0)
        return trace(work)

    assert again() == ["post a", "post b", "pre a it's", "pre b "]
    assert rows(work) == [
        ["case", "factor", "note", "value", "half", "deep.er"],
        ["a", "2", "it's", "2", "1.0", "[1, 2.5]"],
        ["b", "3", "", "3", "1.5", "[1, 2.5]"],
    ]
    assert (here / "results/demo/cases/a/stdout").read_text() == "1\n2\n"
    assert again() == [], "nothing changed"
    (here / "cases.csv").write_text("case,factor,note\nc,5,\na,2,it's\nb,4,\n")
    assert again() == ["post b", "post c", "pre b ", "pre c "], "one case changed, one is new"
    assert [row[0] for row in rows(work)] == ["case", "c", "a", "b"]
    (here / "post.py").write_text((here / "post.py").read_text() + "# changed\n")
    assert again() == ["post a", "post b", "post c"], "a post-processor does not run the cases again"
    (here / "template/more.txt").write_text("x")
    assert len(again()) == 6, "a file more in the template"
    (here / "template/more.txt").unlink()
    assert len(again()) == 6, "a file less"
    config = here / "config/config.yaml"
    config.write_text(config.read_text().replace("number.txt > out.txt", "number.txt > out.txt # new"))
    assert len(again()) == 6, "a command"
    assert not (here / "results/demo/cases/a/more.txt").exists(), "each starts from a fresh copy"
    (here / "cases.csv").write_text("case,factor,note\na,2,it's\n")
    assert again() == [] and len(rows(work)) == 2, "a case less"


def test_a_case_that_fails_says_where(sweep):
    work = sweep(config=CONFIG.replace('"cat number', '"false; exit 7", "cat number'))
    run = work.run("-s", SNAKEFILE, *LOCAL).expect(1)
    assert "command 1 of 3 ended with exit code 7: false; exit 7" in run.text
    other = sweep("other", CONFIG.replace("result.json", "other.json"))
    assert "left no other.json in" in other.run("-s", SNAKEFILE, *LOCAL).expect(1).text


def test_a_mistake_in_the_configuration_is_one_sentence(sweep):
    work = sweep(config=CONFIG.replace("post:", "pots:"))
    (work.directory / "config/good.yaml").write_text(CONFIG)
    run = work.run("-s", SNAKEFILE, *LOCAL, "results/demo/cases/aa", "--configfile", "config/good.yaml").expect(1)
    assert "configuration: sweeps.demo: there is no case 'aa'; did you mean \"a\"?" in run.text
    assert "Traceback" not in run.text and ".smk" not in run.text
    run = work.run("-s", SNAKEFILE, *LOCAL).expect(1)
    assert 'configuration: sweeps.demo.pots: unknown key; did you mean "post"?' in run.text
    assert "Traceback" not in run.text and ".smk" not in run.text and "line" not in run.text


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed: apt-get install openssh-server")
def test_four_ssh_nodes_give_the_same_bytes_as_one_machine(tmp_path):
    """The shipped example, with its plot and Snakemake's report."""
    pytest.importorskip("numpy", reason="the example multiplies with NumPy")
    works = {}
    with hosts(4, tmp_path / "sshd") as pool:
        for name, options in {"local": LOCAL, "ssh": on(pool, *(f"2/node{i}" for i in range(1, 5)))}.items():
            shutil.copytree(ROOT / "examples/mat_mul", tmp_path / name)
            work = works[name] = Workdir(tmp_path / name, "")
            work.run("-s", SNAKEFILE, *options, env=PATH, timeout=100).expect(0)
    for file in ("results.csv", "plot.svg"):
        one, other = (works[name].directory / "results/mat_mul" / file for name in ("local", "ssh"))
        assert one.read_bytes() == other.read_bytes(), file
    assert len(rows(works["ssh"], "mat_mul")) == 13
    nodes = works["ssh"].harbor("status", "--json").stdout
    assert all(f'"node": "node{i}"' in nodes for i in range(1, 5)), "every node had a share"
    works["ssh"].run("-s", SNAKEFILE, "--report", "report.html").expect(0)
    page = (works["ssh"].directory / "report.html").read_text()
    assert "results.csv" in page and "plot.svg" in page
