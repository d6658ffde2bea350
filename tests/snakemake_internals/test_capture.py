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


def captured(workflow, python=None, for_node=lambda value: value):
    job = next(iter(workflow.dag.jobs))
    return capture.capture(workflow, job, "/nodes/tmp", for_node, python)


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


SCRIPT = """
    rule one:
        input: "Snakefile"
        output: "one"
        params: {params}
        {more}
        script: "a.{kind}"
"""


@pytest.fixture
def script(load, tmp_path, monkeypatch):
    """Return the command of a script for a node, and the text of the file that it runs."""
    made = []

    def make(kind, more="", params="x=1", python="/node's/python3", **how):
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / "work" / f"a.{kind}").write_text(how.get("source", "the script\n"))
        monkeypatch.chdir(tmp_path / "work")
        workflow = load(SCRIPT.format(kind=kind, more=more, params=params))
        workflow.deployment_settings.deployment_method = how.get("deployment", set())
        result = captured(workflow, python, how.get("for_node", lambda value: value))
        made.extend(result.temp_files)
        return result.scripts[0], Path(result.temp_files[0]).read_text()

    return make


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        ("py", "'/node'\"'\"'s/python3' "),
        ("R", "Rscript --vanilla "),
        ("jl", "julia "),
        ("sh", "bash "),
        ("rs", "rust-script "),
        ("xsh", "xonsh "),
        ("hy", "hy "),
    ],
)
def test_a_script_for_a_node_names_its_interpreter_and_nothing_of_this_python(script, kind, program):
    command, text = script(kind)
    assert command.startswith(f"set -euo pipefail;  {program}") and "the script" in text
    ours = {sys.executable, sys.prefix, sys.base_prefix, str(Path(inspect.getfile(pytest)).parents[1])}
    assert not [path for path in ours if path in command + text]


@pytest.mark.parametrize("kind", ["py", "R", "Rmd", "jl", "sh", "rs", "xsh", "hy"])
def test_a_script_knows_its_directory_on_a_node_that_has_another_working_directory(script, tmp_path, kind):
    def on_node(value):
        return value.replace(str(tmp_path), "/on/node") if isinstance(value, str) else value

    (tmp_path / "work").mkdir()
    command, text = script(kind, for_node=on_node, source="---\ntitle: x\n---\nthe script\n")
    assert "/on/node/work" in text and str(tmp_path) not in text + command


def test_in_a_container_a_script_gets_no_directory_of_this_machine(script, tmp_path, monkeypatch):
    """Snakemake mounts its own directories there, and a node need not have them."""
    from snakemake.jobs import Job
    from snakemake.settings.types import DeploymentMethod

    monkeypatch.setattr(Job, "container_img_path", property(lambda self: "i.sif"))
    command, text = script("py", 'container: "i.sif"', deployment={DeploymentMethod.APPTAINER})
    assert "python " in command and "harbor_stand_in" in text
    assert f"sys.path.extend(['{tmp_path}/work'" in text
    binds = [word for word in command.split() if ":" in word]
    assert not [word for word in binds if sys.prefix in word or "snakemake_searchpaths" in word + text]


def test_software_that_has_its_own_python_is_looked_at_with_the_real_environment(script, tmp_path, monkeypatch):
    """Snakemake runs `echo $PATH` and `python` with the environment modules of the job."""
    from snakemake.settings.types import DeploymentMethod

    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "python").symlink_to(sys.executable)
    (tmp_path / "init").write_text(f'module() {{ PATH="{tmp_path}/module:$PATH"; }}\n')
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "init"))
    command, _ = script("py", 'envmodules: "tool"', deployment={DeploymentMethod.ENV_MODULES})
    assert "module load tool" in command and "pipefail;  python /" in command


def test_an_object_of_a_class_that_a_node_may_lack_is_named_with_its_place(script):
    more = "resources: mem_mb=1"
    _, plain = script("py", more, "a=1, b={'k': [1.5, None, (b'x', True)]}, c='text'")
    _, text = script("py", more, "1, a=__import__('fractions').Fraction(1, 2), d={'k': __import__('uuid').UUID(int=1)}")
    assert "pickle.loads(harbor_stand_in.checked(" in text and "pickle.loads(b" in plain
    assert "('fractions', 'Fraction', 'params.a'), ('uuid', 'UUID', 'params.d')" in text
