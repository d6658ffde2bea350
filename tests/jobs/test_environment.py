"""The environment of a job: the order of precedence, and the part of the controller's that is valid on a node."""

import os
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.jobs import environment


@pytest.fixture
def workflow():
    """A workflow with `envvars:`, as far as the environment depends on it."""
    return SimpleNamespace(envvars={"ASKED"}, remote_execution_settings=SimpleNamespace(envvars=["OPTION", "NOT_SET"]))


def test_snakemake_wins_over_envvars_and_those_over_the_rest(workflow, monkeypatch):
    monkeypatch.setenv("ASKED", "by the workflow")
    monkeypatch.setenv("OPTION", "by the user")
    shared, captured = {"ASKED": "shared", "PATH": "/bin"}, {"OPTION": "by snakemake", "PYTHONPATH": None}
    env = environment.of_attempt(workflow, captured, {"HARBOR_NODE_NAME": "ada"}, shared)
    assert env["ASKED"] == "by the workflow" and env["OPTION"] == "by snakemake" and "NOT_SET" not in env
    assert env["PYTHONPATH"] is None and env["PATH"] == "/bin" and env["HARBOR_NODE_NAME"] == "ada"


def test_what_the_snakefile_has_changed_is_found(monkeypatch):
    monkeypatch.setattr(environment, "_AT_START", {"SAME": "1", "CHANGED": "1", "REMOVED": "1", "PATH": "/bin"})
    monkeypatch.setattr(os, "environ", {"SAME": "1", "CHANGED": "2", "NEW": "3", "PATH": "/x", "CONDA_PREFIX": "/c"})
    assert environment.set_by_snakefile() == {"CHANGED": "2", "NEW": "3", "REMOVED": None}


def test_only_directories_that_the_node_has_too_are_passed_on(monkeypatch):
    monkeypatch.setenv("PATH", "/shared/bin:/own/bin:/usr/bin")
    monkeypatch.setenv("VIRTUAL_ENV", "/shared/venv")
    monkeypatch.setenv("CONDA_PREFIX", "/own/conda")
    env = environment.shared_environment(frozenset({"/shared/bin", "/usr/bin", "/shared/venv"}), "/usr/bin:/bin")
    assert env == {"PATH": "/shared/bin:/usr/bin:/bin", "VIRTUAL_ENV": "/shared/venv"}
    assert environment.shared_environment(frozenset(), "/bin") == {}


def test_shareable_paths_are_directories_that_exist(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{tmp_path}:{tmp_path}:{tmp_path}/gone:relative")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    status = tmp_path.stat()
    assert environment.shareable_paths() == [[str(tmp_path), status.st_ino, status.st_mtime_ns]]


def test_variables_with_odd_names_are_those_that_a_shell_drops(monkeypatch):
    monkeypatch.setenv("BASH_FUNC_module%%", "() { :; }")
    monkeypatch.setenv("PLAIN", "1")
    dropped = environment.variables_shells_drop()
    assert dropped["BASH_FUNC_module%%"] == "() { :; }" and "PLAIN" not in dropped
