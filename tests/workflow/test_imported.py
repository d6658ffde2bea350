"""Configurations of Parallel-Task-Harbor, as they are and imported, with real Snakemake."""

import csv
import os
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.snakemake.harness import Workdir, on
from tests.sshd import SSHD, hosts

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/parallel_task_harbor"
SNAKEFILE = ("-s", str(ROOT / "workflow/Snakefile"))
LOCAL = ("--executor", "local", "--cores", "4", "--scheduler", "greedy")
DIRECT = ("--config", "sweep_file=sim/mul.cfg")
TWO = '"./mul 4" "; test -e ../ok || exit 5"'
CONFIG = f"""
[PATH]
BASE_PATH = runs
BASE_TMP = base
[CONFIG_OPT]
--remote_enable = 0
--sim_params = BINARY ARG1
--pre_proc = src.pre
--post_proc = src.post
[LOCAL]
MAX_CORE = 2
[SERVER_LIST]
node1 = 2
node2 = 2
[CMD_LIST]
RUN = BINARY > out ARG1 && X=7
MORE = echo TARGET_SCENARIO $X "EXTRA" EXTRA 'ARG1 ' >> out
[SIM_LIST]
one = ./mul 3
two = {TWO}
"""
PRE = """
import os
from src import Request
from src.pre_proc.preprocessor import AbstractPreProcessor

class PreProcessor(AbstractPreProcessor):
    def __init__(self, paths):
        super().__init__()
        self.paths = paths

    def generateRequest(self, case, values):
        open(self.paths["BASE_PATH"] + "/generated", "a").write(case + "\\n")
        values = dict(values, **self.paths, REQ_NAME=case, TARGET_SCENARIO=case, EXTRA="more words")
        self.pushRequest(Request(dict(values, TARGET_DIR=f"{self.paths['BASE_PATH']}/tmp_{case}"), {}))

    def modifyPrior(self, request):
        os.chdir(self.paths["BASE_PATH"])
        self._makeDir(f"tmp_{request.getValue('REQ_NAME')}")
        os.system(f"cp -r {self.paths['BASE_TMP']}/* tmp_{request.getValue('REQ_NAME')}")
"""
TABLE = "case,BINARY,ARG1\none,./mul,3\ntwo,./mul 4,; test -e ../ok || exit 5\n"
LAST = """        self.pushRequest(Request(dict(values, TARGET_DIR=f"{self.paths['BASE_PATH']}/tmp_{case}"), {}))
"""
SEVERAL = """        for part in ("x", "y"):
            name, argument = case + part, values["ARG1"] + part
            own = dict(REQ_NAME=name, ARG1=argument, TARGET_DIR=f"{self.paths['BASE_PATH']}/tmp_{name}")
            self.pushRequest(Request({**values, **own}, {}))
"""
POST = """
class PostProcessor:
    def __init__(self, key):
        self.key = key

    def postProcess(self, request):
        out = open(request.getValue("TARGET_DIR") + "/out").readline()
        open(f"{request.getValue('BASE_PATH')}/total_{self.key}", "a").write(request.getValue("REQ_NAME") + " " + out)
"""


@pytest.fixture
def project(tmp_path):
    """Return a working directory with a configuration, its classes and its template."""

    def make(name="project", config=CONFIG):
        work = Workdir(tmp_path / name, "")
        here = work.directory
        for directory in ("sim", "src", "base", "runs"):
            (here / directory).mkdir()
        (here / "sim/mul.cfg").write_text(config)
        (here / "src/pre.py").write_text(PRE)
        (here / "src/post.py").write_text(POST)
        (here / "base/mul").write_text('#!/bin/sh\necho "$((2 * $1))"\n')
        (here / "base/mul").chmod(0o755)
        return work

    return make


def total(work):
    """Return the lines that all runs of the post-processor have written, and forget them."""
    lines = []
    for path in (work.directory / "runs").glob("total_*"):
        lines += path.read_text().splitlines()
        path.unlink()
    return sorted(lines)


def table(work, name="mul"):
    return (work.directory / f"results/{name}/results.csv").read_text()


@pytest.mark.timeout(240)
def test_a_hundred_cases_run_as_they_are(tmp_path):
    """The shipped example, by the command that the documentation gives. `harbor import` means exactly the same."""
    shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("config"))
    work = Workdir(tmp_path / "example", "")
    here = work.directory
    options = ("--profile", str(ROOT / "profiles/local"), *SNAKEFILE, "-q", "rules")
    begun = time.strftime("%Y%m%d_%H%M")
    run = work.run(*options, "--config", "sweep_file=sim_config/local_mat_mul.cfg", timeout=200).expect(0)
    assert "The hosts are those of sim_config/local_mat_mul.cfg (--remote_enable = 0)" in run.text
    assert "1 of 1 nodes ready, 5 slots: localhost" in run.text
    (log,) = (here / "example").glob("mat_mul_*.log")
    assert begun <= log.stem.removeprefix("mat_mul_") <= time.strftime("%Y%m%d_%H%M")
    sizes = sorted(int(re.match(r"size (\d+): trace \d+$", line)[1]) for line in log.read_text().splitlines())
    assert sizes == list(range(1, 101))
    for size in (1, 100):
        case = here / f"example/tmp_MATRIX_MUL_{size}"
        assert {"matrix-mul", "columns", "run.log"} <= {path.name for path in case.iterdir()}
        assert (here / f"results/local_mat_mul/cases/MATRIX_MUL_{size}").resolve() == case
    rows = list(csv.reader((here / "results/local_mat_mul/results.csv").open()))
    assert len(rows) == 101 and rows[:2] == [["case", "BINARY", "ARG1"], ["MATRIX_MUL_1", "./matrix-mul", "1"]]
    imported = work.harbor("import", "sim_config/local_mat_mul.cfg")
    assert imported.returncode == 0, imported.stderr
    assert "the sweep local_mat_mul with 100 cases\nType: snakemake --profile" in imported.stdout
    assert "--harbor-hosts 5/localhost --snakefile" in imported.stdout
    assert "Nothing to be done" in work.run(*options).expect(0).text, "the imported configuration has the same cases"
    (here / "config/config.yaml").write_text("mine: 1\n")
    again = work.harbor("import", "sim_config/local_mat_mul.cfg")
    assert (
        again.returncode == 1 and "config/config.yaml exists, and `harbor import` does not replace it" in again.stderr
    )
    assert '"cases": 100' in work.harbor("import", "sim_config/local_mat_mul.cfg", "--force", "--json").stdout


def test_direct_and_imported_give_the_same_and_a_failed_case_is_post_processed(project):
    """Values are pasted unquoted: `exit 5` ends the case two, whose post-processor is called before it fails."""
    works = {name: project(name) for name in ("direct", "imported")}
    imported = works["imported"].harbor("import", "sim/mul.cfg", "-o", "config/config.yaml")
    assert imported.returncode == 0, imported.stderr
    for name, work in works.items():
        here = work.directory
        options = (*SNAKEFILE, *(DIRECT if name == "direct" else ()), *LOCAL, "--retries", "1", "--keep-going")
        run = work.run(*options).expect(1)
        if name == "direct":
            assert (
                "The sweep is that of sim/mul.cfg. The hosts in this file mean nothing to another executor" in run.text
            )
        assert (
            "case two: run, command 1 of 1 ended with exit code 5: ./mul 4 > out ; test -e ../ok || exit 5 && X"
            in run.text
        )
        assert "Traceback" not in run.text
        assert total(work) == ["one 6", "two 8"]
        assert (here / "runs/tmp_one/out").read_text() == "6\none 7 EXTRA more words ARG1 \n"
        assert "two" in (here / "runs/generated").read_text()
        (here / "runs/ok").touch()
        work.run(*options).expect(0)
        assert total(work) == ["two 8"], "only the case that failed runs again"
    shutil.rmtree(works["direct"].directory / "runs/tmp_one")
    works["direct"].run(*SNAKEFILE, *DIRECT, *LOCAL, "results/mul/cases/one").expect(0)
    assert (works["direct"].directory / "runs/tmp_one/out").exists(), "a case runs again if it is gone and named"
    assert table(works["direct"]) == table(works["imported"]) == TABLE


def test_faults_of_classes_are_those_of_their_case_and_several_requests_are_several_cases(project):
    work = project()
    here = work.directory
    pre = PRE.replace(LAST, SEVERAL)
    assert pre != PRE
    pre += '        if request.getValue("REQ_NAME") == "oney":\n            raise ValueError("no onions")\n'
    pre += '        request.req_dict["ARG1"] = 9\n'
    (here / "src/pre.py").write_text(pre)
    (here / "src/post.py").write_text(
        POST + '        if request.getValue("REQ_NAME") == "twox":\n            open("none")\n'
    )
    (here / "sim/mul.cfg").write_text(CONFIG.replace(TWO, "./mul 4"))
    options = (*SNAKEFILE, *DIRECT, *LOCAL, "--keep-going")
    run = work.run(*options).expect(1)
    assert "case oney: modifyPrior of src.pre failed: ValueError: no onions (src/pre.py:" in run.text
    assert "case twox: postProcess of src.post failed: FileNotFoundError: " in run.text
    assert "Traceback" not in run.text and "Traceback" in (here / "results/mul/logs/post/twox.log").read_text()
    assert total(work) == ["onex 18", "twox 18", "twoy 18"], "values that modifyPrior has changed reach the command"
    (here / "src/post.py").write_text(POST)
    (here / "src/pre.py").write_text(pre.replace("oney", "none"))
    work.run(*options).expect(0)
    assert [line.split(",")[0] for line in table(work).splitlines()] == ["case", "onex", "oney", "twox", "twoy"]


def test_without_classes_and_with_a_script(project):
    config = CONFIG.replace("--pre_proc = src.pre\n", "").replace("src.post", "src/post.sh").replace(TWO, "./mul 5")
    work = project(config=config)
    here = work.directory
    (here / "src/post.sh").write_text('echo "$CASE $CASE_ARG1 $(head -1 out)" >> ../total_x\n')
    (here / "base/.hidden").write_text("")
    work.run(*SNAKEFILE, *LOCAL, *DIRECT).expect(0)
    assert total(work) == ["one 3 6", "two 5 10"]
    assert (here / "runs/tmp_one/.hidden").exists() and os.path.islink(here / "results/mul/cases/one")
    (here / "sim/mul.cfg").write_text(config.replace("./mul 3", "./none 3"))
    run = work.run(*SNAKEFILE, *LOCAL, *DIRECT, "--keep-going").expect(1)
    assert "case one: run, command 1 of 1 ended with exit code 127: ./none > out 3" in run.text
    assert f"What it left is in {here}/runs/tmp_one" in run.text and (here / "runs/tmp_one/mul").exists()


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed: apt-get install openssh-server")
def test_remote_runs_on_the_host_list_and_asks_the_classes_on_the_controller_only(project, tmp_path):
    """Each job starts a Snakemake on its node here, which reads the configuration again but asks no class."""
    work = project(config=CONFIG.replace("enable = 0", "enable = 1").replace(TWO, "./mul 5"))
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with hosts(2, tmp_path / "sshd") as pool:
        options = (*on(pool, "8/none1"), "--harbor-dispatch", "snakemake")
        run = work.run(*SNAKEFILE, *options, *DIRECT, env=path, timeout=100).expect(0)
        nodes = work.harbor("status", "--json").stdout
    assert "(--remote_enable = 1) and not those of the options or profile: 2/node1 2/node2" in run.text
    assert "2 of 2 nodes ready, 4 slots: node1, node2" in run.text and "none1" not in nodes
    assert total(work) == ["one 6", "two 10"]
    generated = (work.directory / "runs/generated").read_text().split()
    assert sorted(generated) == ["one", "one", "two", "two"], "once for all cases, and once when each is prepared"
