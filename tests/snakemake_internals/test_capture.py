"""A compiled rule is called with its arguments by name, and one with unknown arguments is not captured."""

import inspect
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs.command import dispatch_mode
from snakemake_executor_plugin_harbor.snakemake_internals import capture

RULE = """
    rule one:
        input: "in put"
        output: "one"
        params: name="it's"
        threads: 2
        benchmark: repeat("bench.tsv", 2)
        shell: "echo {params.name:q} {threads} {input:q} > {output} # {bench_iteration}"
"""
EXPECTED = "set -euo pipefail;  echo 'it'\"'\"'s' 2 'in put' > one # {}"


@pytest.fixture
def workflow(load, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "in put").write_text("")
    return load(RULE)


def captured(workflow):
    job = next(iter(workflow.dag.jobs))
    return capture.capture(workflow, job, "/nodes/tmp", lambda value: value)


def test_harbor_has_every_argument_of_a_compiled_rule(workflow):
    rule = next(iter(workflow.rules))
    parameters = inspect.signature(rule.run_func).parameters
    names = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    assert set(names) <= set(capture.ARGUMENTS) and len(names) >= 25


def test_each_repeat_of_a_benchmark_has_a_script_of_its_own(workflow):
    scripts = captured(workflow).scripts
    assert scripts == (EXPECTED.format(0), EXPECTED.format(1))


def test_arguments_in_another_order_and_fewer_of_them_do_no_harm(workflow):
    rule = next(iter(workflow.rules))
    real = rule.run_func
    order = [name for name in reversed(capture.ARGUMENTS) if name != "edit_notebook"]
    names = {"real": real}
    exec(f"def compiled({', '.join(order)}):\n    real(edit_notebook=None, **locals())", names)
    rule.run_func = names["compiled"]
    assert captured(workflow).scripts[0] == EXPECTED.format(0)


def test_a_rule_with_an_unknown_argument_is_run_by_a_snakemake_on_the_node(workflow):
    rule, job = next(iter(workflow.rules)), next(iter(workflow.dag.jobs))
    names = {}
    exec(f"def compiled({', '.join(capture.ARGUMENTS)}, gpu_model, cloud=None): pass", names)
    assert dispatch_mode(workflow, job, "auto") == "direct"
    rule.run_func = names["compiled"]
    assert dispatch_mode(workflow, job, "auto") == "snakemake"
    with pytest.raises(HarborError, match="passes arguments to rules that harbor does not know: gpu_model, cloud"):
        dispatch_mode(workflow, job, "direct")


def test_the_script_files_of_a_capture_are_recorded(load, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.py").write_text("print(1)\n")
    workflow = load('rule one:\n    output: "one"\n    script: "a.py"\n')
    monkeypatch.chdir(tmp_path / "work")
    result = captured(workflow)
    (file,) = result.temp_files
    assert Path(file).is_file() and file in result.scripts[0] and sys.executable in result.scripts[0]
