"""The captured command, what Snakemake sets in its environment, and the dispatch mode of a job."""

import os
import sys

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs import command as cmd
from snakemake_executor_plugin_harbor.jobs.source_files import SourceFiles

THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
RULES = """
    rule one:
        output: "one"
        threads: 1
        resources: tmpdir="/node's tmp"
        params: name="it's"
        shell: "echo {params.name:q} {threads} {resources.tmpdir:q} > {output}"

    rule run:
        output: "run"
        run: pass

    rule all:
        default_target: True
        input: "one", "run"
"""


@pytest.fixture
def capture(load, tmp_path):
    """The command of a rule of RULES."""

    def take(name="one", text=RULES, **how):
        workflow = load(text, **how)
        job = next(job for job in workflow.dag.jobs if job.rule.name == name)
        return cmd.direct_command(workflow, job, "/nodes/tmp", SourceFiles(workflow, tmp_path / "sources").for_node)

    return take


def test_the_command_is_the_one_that_snakemake_would_run(capture):
    command = capture()
    assert command.scripts == ("set -euo pipefail;  echo 'it'\"'\"'s' 1 '/node'\"'\"'s tmp' > one",)
    assert command.shell == "/usr/bin/bash" or command.shell.endswith("bash")


def test_what_snakemake_sets_is_found_even_if_the_controller_has_the_same(capture, monkeypatch):
    for name in THREADS:
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")
    for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR"):
        monkeypatch.setenv(name, "/node's tmp")
    env = capture().env
    assert {env[f"{name}_NUM_THREADS"] for name in THREADS} == {"1"} and env["VECLIB_MAXIMUM_THREADS"] == "1"
    assert {env[name] for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR")} == {"/node's tmp"}


def test_nothing_else_of_the_controllers_environment_is_in_it(capture, monkeypatch):
    monkeypatch.setenv("CLOUD_KEY", "secret")
    env = capture().env
    assert "secret" not in str(env) and set(env) == {
        *(f"{name}_NUM_THREADS" for name in THREADS),
        *("VECLIB_MAXIMUM_THREADS", "TMPDIR", "TMP", "TEMP", "TEMPDIR"),
    }


def test_a_job_without_a_tmpdir_does_not_get_the_controllers(capture, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/controller")
    from snakemake.resources import Resources

    text = 'rule one:\n    output: "one"\n    resources: tmpdir=None\n    shell: "touch {output}"\n'
    env = capture(text=text)
    assert "TMPDIR" not in env.env and Resources


def test_the_environment_of_this_process_is_untouched(capture, monkeypatch):
    import snakemake.shell  # noqa: F401

    monkeypatch.setenv("HERE", "1")
    capture()
    assert os.environ["HERE"] == "1" and sys.modules["snakemake.shell"].os.environ["HERE"] == "1"


def test_the_dispatch_mode_follows_the_setting_and_the_kind_of_job(load):
    workflow = load(RULES)
    jobs = {job.rule.name: job for job in workflow.dag.jobs}
    assert cmd.dispatch_mode(workflow, jobs["one"], "auto") == "direct"
    assert cmd.dispatch_mode(workflow, jobs["one"], "snakemake") == "snakemake"
    assert cmd.dispatch_mode(workflow, jobs["run"], "auto") == "snakemake"
    with pytest.raises(HarborError, match="run: is Python code"):
        cmd.dispatch_mode(workflow, jobs["run"], "direct")


@pytest.mark.parametrize("left_out", ["INPUT_OUTPUT", "STORAGE_LOCAL_COPIES", "SOFTWARE_DEPLOYMENT"])
def test_what_is_not_shared_is_left_to_a_snakemake_on_the_node(load, left_out):
    from snakemake.settings.types import SharedFSUsage

    workflow = load(RULES)
    job = next(job for job in workflow.dag.jobs if job.rule.name == "one")
    workflow.storage_settings.shared_fs_usage = SharedFSUsage.all() - {SharedFSUsage[left_out]}
    assert cmd.dispatch_mode(workflow, job, "auto") == "snakemake"
    with pytest.raises(HarborError, match="--shared-fs-usage leaves out " + left_out.lower().replace("_", "-")):
        cmd.dispatch_mode(workflow, job, "direct")
    workflow.storage_settings.shared_fs_usage = SharedFSUsage.all() - {SharedFSUsage.SOURCES}
    assert cmd.dispatch_mode(workflow, job, "auto") == "direct"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('script: "a.py"', ()),
        ('script: "a.R"', ()),
        ('shell: "true"', ()),
        ('container: "i.sif"\n    script: "a.py"', ()),
        ('conda: "/envs/tool"\n    script: "a.py"', ("/envs/tool",)),
    ],
)
def test_what_a_node_must_have(load, monkeypatch, tmp_path, line, expected):
    """A script runs in the node's Python; a container or an environment brings its own."""
    from snakemake.settings.types import DeploymentMethod

    (tmp_path / "work").mkdir()
    for name in ("a.py", "a.R"):
        (tmp_path / "work" / name).write_text("")
    workflow = load(f'rule one:\n    output: "one"\n    {line}\n')
    job = next(iter(workflow.dag.jobs))
    workflow.deployment_settings.deployment_method = {DeploymentMethod.APPTAINER, DeploymentMethod.CONDA}
    if "conda" in line:
        monkeypatch.setattr(type(job), "conda_env", property(lambda self: type("Env", (), {"address": "/envs/tool"})()))
    elif "container" in line:
        monkeypatch.setattr(type(job), "container_img_path", property(lambda self: "i.sif"))
    assert cmd.direct_needs(workflow, job) == expected
