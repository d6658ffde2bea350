"""The conformance run, with a checkout of three small workflows in the place of Snakemake's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.__main__ import UNKNOWN, known_reasons, table
from tests.sshd import SSHD

ROOT = Path(__file__).parents[2]
COMMON = """
import tempfile
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, Quietness, ResourceSettings

def run(path, executor="local", executor_settings=None, nodes=None):
    directory = Path(tempfile.mkdtemp())
    (directory / "Snakefile").write_text(path)
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            ResourceSettings(cores=2, nodes=nodes), snakefile=directory / "Snakefile", workdir=directory
        )
        workflow.dag().execute_workflow(executor=executor, executor_settings=executor_settings)
    return (directory / "out").read_text()
"""
TESTS = '''
from tests.common import run

RULE = """
rule all:
    output: "out"
    shell: "{}"
"""

def test_declared():
    assert run(RULE.format("echo made > {output}")) == "made\\n"

def test_undeclared():
    assert run(RULE.format("cat Snakefile > {output}"))

def test_wrong():
    assert run(RULE.format("echo made > {output}")) == "something else"
'''


def checkout_in(directory: Path) -> Path:
    tests = directory / "checkout" / "tests"
    tests.mkdir(parents=True)
    for name, text in (("__init__.py", ""), ("common.py", COMMON), ("tests.py", TESTS)):
        (tests / name).write_text(text)
    return tests.parent


@pytest.mark.skipif(SSHD is None, reason="sshd is not installed: apt-get install openssh-server")
def test_what_differs_from_the_local_executor_is_in_the_table(tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    options = ["--mode", "shared", "--mode", "staged", "--jobs", "3", "--results", str(results), "--table", str(page)]
    command = [sys.executable, "-m", "tests.conformance", str(checkout_in(tmp_path)), *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert json.loads(results.read_text()) == {
        "test_declared": {"local": "passed", "shared": "passed", "staged": "passed"},
        "test_undeclared": {"local": "passed", "shared": "passed", "staged": "failed"},
        "test_wrong": {"local": "failed"},
    }, run.stdout + run.stderr
    assert run.returncode == 1
    assert f"| {UNKNOWN} | staged | `test_undeclared` |" in page.read_text()
    assert "| shared | 2 | 2 | 0 |" in page.read_text()


def test_a_reason_holds_for_its_modes_only():
    results = {"test_one": {"local": "passed", "shared": "failed", "staged": "hung"}}
    page = table(results, {("test_one", "staged"): "It needs more."})
    assert f"| {UNKNOWN} | shared | `test_one` |" in page and "| It needs more. | staged | `test_one` |" in page


def test_each_reason_is_a_sentence():
    assert all(why[0].isupper() and why.endswith(".") for why in known_reasons().values())
