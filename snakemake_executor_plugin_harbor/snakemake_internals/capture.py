"""Captures the exact command with which Snakemake would run a job.

A rule is compiled to a Python function. It is called here as the local executor calls it, while `subprocess` inside the
module `snakemake.shell` is replaced by an object that records the command instead of running it. So the shell prefix,
environment modules, conda, containers, `shell_exec` and the namespaces of modules come out as Snakemake would have run
them. (`job.shellcmd` is silently wrong for rules of a `module`.)
"""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import benchmark, deployment, node_python, rule_resources
from .contract import Feature
from .verify import has

CONDA_CONFLICTS = ("R_LIBS", "PYTHONPATH", "PERLLIB", "PERL5LIB")
"""Snakemake removes these for jobs in conda environments. A node may have them even if the controller has not."""
KEPT_FILE = "Not cleaning up "
"""Snakemake logs this with the path of a script file that it made and does not remove."""
MARKER_PARAMETER = "__is_snakemake_rule_func"
"""The parameter by which Snakemake recognizes a compiled rule. It has a default."""
ARGUMENTS: dict[str, Callable[[Any, Any], Any]] = {
    "input": lambda workflow, job: job.input._plainstrings(),
    "output": lambda workflow, job: job.output._plainstrings(),
    "params": lambda workflow, job: job.params,
    "wildcards": lambda workflow, job: job.wildcards,
    "threads": lambda workflow, job: job.threads,
    "resources": lambda workflow, job: job.resources,
    "log": lambda workflow, job: job.log._plainstrings(),
    "rule": lambda workflow, job: job.rule.name,
    "conda_env": deployment.conda_environment,
    "container_img": deployment.container,
    "singularity_args": lambda workflow, job: workflow.deployment_settings.apptainer_args,
    "use_singularity": lambda workflow, job: deployment.uses_containers(workflow),
    "env_modules": deployment.environment_modules,
    # None, because the agent measures. Snakemake would watch a process that does not exist.
    "bench_record": lambda workflow, job: None,
    "jobid": lambda workflow, job: job.jobid,
    "is_shell": lambda workflow, job: job.rule.shellcmd is not None,
    "bench_iteration": lambda workflow, job: None,
    "cleanup_scripts": lambda workflow, job: False,
    "shadow_dir": lambda workflow, job: job.shadow_dir if deployment.container(workflow, job) else None,
    "edit_notebook": lambda workflow, job: None,
    "conda_base_path": lambda workflow, job: workflow.conda_base_path,
    "basedir": lambda workflow, job: job.rule.basedir,
    "sourcecache_path": lambda workflow, job: workflow.sourcecache.cache_path,
    "runtime_sourcecache_path": lambda workflow, job: workflow.sourcecache.runtime_cache_path,
    "runtime_paths": lambda workflow, job: workflow.runtime_paths,
}
"""The arguments of a compiled rule by name, as snakemake/executors/local.py makes them. Older releases take fewer."""

_UNCHANGED = "\0harbor: the node's own"
_SHELL_TMP = re.compile(r"(/[^\"'\n]*/\.snakemake/shell_tmp\.[^/\"'\n]+)/script\.sh")

_local = threading.local()


@dataclass(frozen=True)
class Captured:
    """The `scripts` are run one after the other by the program `shell`, in the directory `cwd`.

    `env` holds the variables that Snakemake sets (None: removes). `temp_files` are files on the controller that
    Snakemake made for the scripts. `modules` are files of the workflow that Python scripts import.
    """

    scripts: tuple[str, ...]
    shell: str | None
    cwd: str
    env: Mapping[str, str | None]
    temp_files: tuple[str, ...]
    modules: tuple[str, ...]


class _Recorded(BaseException):
    """Ends a captured call when its command is known. It is not an Exception, so that Snakemake does not handle it."""

    def __init__(self, command: str, executable: str | None, env: Mapping[str, str | None]) -> None:
        super().__init__("recorded")
        self.command = command
        self.executable = executable
        self.env = env


class _Subprocess:
    """Replaces the module `subprocess` inside `snakemake.shell`. Other threads than capturing ones use the real one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: Any, **options: Any) -> Any:
        if not getattr(_local, "capturing", False) or options.get("stdout") == subprocess.PIPE:
            return subprocess.Popen(command, **{**options, **_real_environment(options)})
        raise _Recorded(command, options.get("executable"), _changes(options["env"], _local.environ))


class _Os:
    """Replaces the module `os` inside `snakemake.shell`.

    During a capture the environment consists of placeholders. So each variable that Snakemake sets is found, even if
    the controller's own has the same value, and no value of the controller's environment gets into a command.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def environ(self) -> Any:
        return _local.environ if getattr(_local, "capturing", False) else os.environ


def _changes(env: Mapping[str, str], placeholders: Mapping[str, str]) -> dict[str, str | None]:
    """The variables that Snakemake has set, and those that it has removed (None)."""
    if not any(value == _UNCHANGED for value in env.values()):
        raise RuntimeError("Snakemake did not take a job's environment from os.environ")
    changed: dict[str, str | None] = {name: value for name, value in env.items() if value != _UNCHANGED}
    changed.update({name: None for name in placeholders if name not in env})
    return changed


def _real_environment(options: Mapping[str, Any]) -> dict[str, Any]:
    """The option `env` without placeholders, for a command with which Snakemake looks at the software of a job."""
    env = options.get("env")
    if not getattr(_local, "capturing", False) or env is None:
        return {}
    real = {name: os.environ.get(name) if value == _UNCHANGED else value for name, value in env.items()}
    return {"env": {name: value for name, value in real.items() if value is not None}}


def _record_kept_file(record: logging.LogRecord) -> bool:
    """A log filter that drops Snakemake's message about a script file of a capture, and records the file."""
    if getattr(_local, "capturing", False) and str(record.msg).startswith(KEPT_FILE):
        _local.temp_files.append(record.getMessage().removeprefix(KEPT_FILE))
        return False
    return True


@cache
def install() -> None:
    """Replace `subprocess` and `os` inside `snakemake.shell`, once per process."""
    import snakemake.shell  # noqa: F401 - The attribute `snakemake.shell` is a class, so the module comes from sys.modules.
    from snakemake.logging import logger

    module: Any = sys.modules["snakemake.shell"]
    if not isinstance(module.sp, _Subprocess):
        module.sp, module.os = _Subprocess(), _Os()
        logger.addFilter(_record_kept_file)
    if has(Feature.STAND_IN):
        node_python.install()


def obstacle(job: Any) -> str | None:
    """Return why no command can be captured for the job, or None if one can."""
    if not has(Feature.DIRECT):
        return "this version of Snakemake lacks what harbor needs for it"
    if job.is_group():
        reasons = ((member, obstacle(member) or _obstacle_in_group(member)) for member in job.jobs)
        return next((f"{member.rule.name}: {reason}" for member, reason in reasons if reason), None)
    if job.is_run:
        return "run: is Python code of the Snakefile"
    if job.is_notebook:
        return "notebooks are executed by Snakemake"
    if job.is_cwl:
        return "CWL tools are executed by Snakemake"
    if unknown := _unknown_parameters(job.rule.run_func):
        return f"this version of Snakemake passes arguments to rules that harbor does not know: {', '.join(unknown)}"
    return None


def is_shell_command(job: Any) -> bool:
    """Return True if the job is one of a rule with `shell:`. All that its command depends on is in its text."""
    return job.rule.shellcmd is not None


def _obstacle_in_group(job: Any) -> str | None:
    """Return why a job that can be captured cannot be one of a group that is dispatched directly."""
    from snakemake.io import is_flagged

    if any(is_flagged(file, "update") for file in job.output):
        return "an output with update() within a group is saved by Snakemake"
    if job.is_shadow:
        return "a shadow directory within a group is made by Snakemake"
    if job.rule.cache and job.rule.cache.output:
        return "the between-workflow cache within a group is handled by Snakemake"
    return None


@cache
def _unknown_parameters(run_func: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a compiled rule that harbor has no argument for."""
    return tuple(name for name in _parameters(run_func) if name not in ARGUMENTS)


@cache
def _parameters(run_func: Callable[..., Any]) -> tuple[str, ...]:
    code = run_func.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple(name for name in names if name != MARKER_PARAMETER)


def capture(
    workflow: Any, job: Any, tmpdir: str, for_node: Callable[[Any], Any], python: str | None = None
) -> Captured:
    """The command of a job whose files are prepared.

    `tmpdir` is the node's directory for temporary files; jobs with a `tmpdir` resource of their own do not use it.
    `for_node` replaces paths in inputs, outputs, logs, params and commands by those that nodes know. `python` is the
    node's Python for scripts. None means this Python, with its Snakemake.
    """
    install()
    arguments = {name: ARGUMENTS[name](workflow, job) for name in _parameters(job.rule.run_func)}
    arguments["resources"] = rule_resources.with_tmpdir(job, tmpdir)
    for name in ("input", "output", "log", "params"):
        if name in arguments:
            arguments[name] = for_node(arguments[name])
    scripts: list[str] = []
    temp_files: list[str] = []
    modules: list[str] = []
    recorded: _Recorded | None = None
    repeats = benchmark.repeats(job)
    for iteration in range(repeats or 1):
        arguments["bench_iteration"] = None if repeats is None else iteration
        with node_python.scripts_for(python if has(Feature.STAND_IN) else None, for_node) as imported:
            recorded = _call(job.rule.run_func, arguments)
        command, modules = recorded.command, imported
        temp_files += _local.temp_files
        for path in _local.temp_files:
            if job.shadow_dir:
                # Snakemake would have written the file inside the shadow directory, and the path is relative to that.
                command = command.replace(path, str(Path(path).absolute()))
        temp_files += _SHELL_TMP.findall(command)
        scripts.append(for_node(command))
    assert recorded is not None
    cwd = os.getcwd()
    if job.shadow_dir and not deployment.container(workflow, job):
        cwd = str(Path(job.shadow_dir).absolute())
    # A script on a node does not look for others: their directories have other paths there.
    below = tuple(path for path in modules if os.path.realpath(path).startswith(f"{os.getcwd()}/"))
    return Captured(tuple(scripts), recorded.executable, cwd, recorded.env, tuple(temp_files), below)


def _call(run_func: Callable[..., Any], arguments: Mapping[str, Any]) -> _Recorded:
    """Call a compiled rule until it would run its command."""
    _local.environ = dict.fromkeys((*os.environ, *CONDA_CONFLICTS), _UNCHANGED)
    _local.capturing, _local.temp_files = True, []
    try:
        run_func(**arguments)
    except _Recorded as recorded:
        return recorded
    finally:
        _local.capturing = False
    raise RuntimeError("the rule ran no shell command")
