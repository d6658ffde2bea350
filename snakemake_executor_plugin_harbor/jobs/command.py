"""A job's command and environment: captured from Snakemake (direct), or Snakemake itself on the node.

The one place that touches what Snakemake's public interfaces cannot give: the exact command. The rule's compiled
function is called as the local executor calls it, while `subprocess` inside `snakemake.shell` is a stand-in that
takes the command instead of running it. So shell prefix, environment modules, conda, containers, `shell_exec` and
module namespaces come out as Snakemake itself would have run them (`job.shellcmd` is silently wrong for rules of
a `module`). Held by `tests/dispatch`, for every supported Snakemake version.
"""

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import HarborError
from .source_files import SourceFiles

CONDA_CONFLICTS = ("R_LIBS", "PYTHONPATH", "PERLLIB", "PERL5LIB")
"""Snakemake removes these for jobs in conda environments. A node may have them where the controller has not."""

_AT_START = dict(os.environ)
"""The environment before a Snakefile was read: Snakemake imports its plugins when it starts."""
_KEPT = "\0harbor: the node's own"

_local = threading.local()
_SHELL_TMP = re.compile(r"(/[^\"'\n]*/\.snakemake/shell_tmp\.[^/\"'\n]+)/script\.sh")


@dataclass(frozen=True)
class Command:
    """What a node is to run: `scripts` one after the other by `shell`, in `cwd`.

    `env` is what is set beside the node's own environment (None: unset). `temp_files` are files on the controller that
    Snakemake made for this command and that go when it has ended. `needs` are paths that the node must have.
    """

    scripts: tuple[str, ...]
    shell: str | None
    cwd: str
    env: Mapping[str, str | None]
    temp_files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


class _Taken(BaseException):
    """Ends a captured call once its command is known. Not an Exception: Snakemake's handlers must not see it."""

    def __init__(self, command: str, executable: str | None, env: Mapping[str, str | None]) -> None:
        super().__init__("captured")
        self.command = command
        self.executable = executable
        self.env = env


class _Subprocess:
    """Stands in for the module `subprocess` inside `snakemake.shell`; other threads get the real thing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(command: Any, **options: Any) -> Any:
        if not getattr(_local, "capturing", False) or options.get("stdout") == subprocess.PIPE:
            return subprocess.Popen(command, **options)
        raise _Taken(command, options.get("executable"), _changes(options["env"], _local.environ))


class _Os:
    """Stands in for the module `os` inside `snakemake.shell`.

    A capture sees an environment of placeholders. So what Snakemake sets is known even where the controller has the
    same value already, and nothing of the controller's own environment can get into a command's.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def environ(self) -> Any:
        return _local.environ if getattr(_local, "capturing", False) else os.environ


def _changes(env: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str | None]:
    """What Snakemake set in the placeholders that it was `given`; None stands for what it removed."""
    if not any(value == _KEPT for value in env.values()):
        raise RuntimeError("Snakemake took a job's environment from elsewhere than os.environ")
    changed: dict[str, str | None] = {name: value for name, value in env.items() if value != _KEPT}
    changed.update({name: None for name in given if name not in env})
    return changed


def _keep_quiet(record: logging.LogRecord) -> bool:
    """Drop Snakemake's note that it keeps the script file of a capture; remember the file instead."""
    if getattr(_local, "capturing", False) and str(record.msg).startswith("Not cleaning up "):
        _local.temp_files.append(record.getMessage().removeprefix("Not cleaning up "))
        return False
    return True


@cache
def install() -> None:
    """Put the stand-in in place, once per process."""
    import snakemake.shell  # noqa: F401 - `snakemake.shell` the attribute is a class; the module is wanted
    from snakemake.logging import logger

    module: Any = sys.modules["snakemake.shell"]
    if not isinstance(module.sp, _Subprocess):
        module.sp, module.os = _Subprocess(), _Os()
        logger.addFilter(_keep_quiet)


def dispatch_mode(workflow: Any, job: Any, setting: str) -> str:
    """`direct` or `snakemake` for a job. Raises HarborError where `direct` was asked for and cannot be."""
    reason = _not_direct(job) or _not_shared(workflow.storage_settings.shared_fs_usage)
    if setting == "snakemake" or (setting == "auto" and reason):
        return "snakemake"
    if reason:
        raise HarborError(
            f"--harbor-dispatch direct: {job.name} cannot be dispatched directly: {reason}.",
            "--harbor-dispatch auto",
        )
    return "direct"


def _not_shared(usage: Any) -> str | None:
    """Snakemake leaves to the jobs what --shared-fs-usage leaves out: their storage, their environments."""
    absent = [each.item_to_choice() for each in _usages() if each not in usage]
    return f"--shared-fs-usage leaves out {', '.join(absent)}" if absent else None


def _not_direct(job: Any) -> str | None:
    if job.is_group():
        return "it is a group of jobs"
    if job.is_run:
        return "run: is Python code of the Snakefile"
    if job.is_notebook:
        return "notebooks are executed by Snakemake"
    if job.is_cwl:
        return "CWL tools are executed by Snakemake"
    if job.is_pipe or job.is_service:
        return "pipes and services connect jobs of one machine"
    return None


def direct_command(workflow: Any, job: Any, tmpdir: str, sources: SourceFiles) -> Command:
    """The command of a prepared job. `tmpdir` is the node's, for jobs that do not name their own."""
    install()
    arguments = _arguments(workflow, job, tmpdir)
    for name in ("input", "params"):
        arguments[name] = sources.for_node(arguments[name])
    scripts: list[str] = []
    temp_files: list[str] = []
    taken: _Taken | None = None
    for iteration in range(job.benchmark_repeats or 1 if job.benchmark else 1):
        taken = _capture(job.rule.run_func, {**arguments, "bench_iteration": iteration if job.benchmark else None})
        command = taken.command
        temp_files += _local.temp_files
        for path in _local.temp_files:
            if job.shadow_dir:
                # Snakemake would have written it inside the shadow directory, where this path is relative to.
                command = command.replace(path, str(Path(path).absolute()))
        temp_files += _SHELL_TMP.findall(command)
        scripts.append(sources.for_node(command))
    assert taken is not None
    cwd = os.getcwd()
    if job.shadow_dir and not arguments["container_img"]:
        cwd = str(Path(job.shadow_dir).absolute())
    return Command(tuple(scripts), taken.executable, cwd, taken.env, tuple(temp_files), direct_needs(workflow, job))


def direct_needs(workflow: Any, job: Any) -> tuple[str, ...]:
    """Paths outside the working directory that the node must have for a direct job."""
    methods, known = workflow.deployment_settings.deployment_method, _deployment_methods()
    if known.APPTAINER in methods and job.container_img_path:
        return ()
    if known.CONDA in methods and job.conda_env:
        address = str(job.conda_env.address)  # the name of one that is not Snakemake's, else its path
        return (address,) if os.path.isabs(address) else ()
    # `script:` names this interpreter for Python; for wrappers the language is not known yet.
    python = job.is_wrapper or (job.is_script and str(job.rule.script).endswith(".py"))
    return (sys.executable,) if python else ()


def _capture(run_func: Any, arguments: Mapping[str, Any]) -> _Taken:
    _local.environ = dict.fromkeys((*os.environ, *CONDA_CONFLICTS), _KEPT)
    _local.capturing, _local.temp_files = True, []
    try:
        run_func(*arguments.values())
    except _Taken as taken:
        return taken
    finally:
        _local.capturing = False
    raise RuntimeError("the rule ran no shell command")


@cache
def _deployment_methods() -> Any:
    """Not at import: that has to stay cheap; not for each job either: an import statement takes 0.1 ms."""
    from snakemake.settings.types import DeploymentMethod

    return DeploymentMethod


@cache
def _usages() -> tuple[Any, ...]:
    from snakemake.settings.types import SharedFSUsage

    return (SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.STORAGE_LOCAL_COPIES, SharedFSUsage.SOFTWARE_DEPLOYMENT)


def _arguments(workflow: Any, job: Any, tmpdir: str) -> dict[str, Any]:
    """The arguments of a rule's compiled function, by name, in its order (snakemake/executors/local.py)."""
    methods_known = _deployment_methods()
    deployment = workflow.deployment_settings
    methods = deployment.deployment_method
    apptainer = methods_known.APPTAINER in methods
    container = job.container_img_path if apptainer else None
    return {
        "input": job.input._plainstrings(),
        "output": job.output._plainstrings(),
        "params": job.params,
        "wildcards": job.wildcards,
        "threads": job.threads,
        "resources": with_tmpdir(job, tmpdir),
        "log": job.log._plainstrings(),
        "rule": job.rule.name,
        "conda_env": job.conda_env.address if methods_known.CONDA in methods and job.conda_env else None,
        "container_img": container,
        "singularity_args": deployment.apptainer_args,
        "use_singularity": apptainer,
        "env_modules": job.env_modules if methods_known.ENV_MODULES in methods else None,
        # None: the agent measures; Snakemake would watch a process that is not there.
        "bench_record": None,
        "jobid": job.jobid,
        "is_shell": job.rule.shellcmd is not None,
        "bench_iteration": None,
        "cleanup_scripts": False,
        "shadow_dir": job.shadow_dir if container else None,
        "edit_notebook": None,
        "conda_base_path": workflow.conda_base_path,
        "basedir": job.rule.basedir,
        "sourcecache_path": workflow.sourcecache.cache_path,
        "runtime_sourcecache_path": workflow.sourcecache.runtime_cache_path,
        "runtime_paths": workflow.runtime_paths,
    }


def with_tmpdir(job: Any, tmpdir: str) -> Any:
    """The job's resources with `tmpdir` known: Snakemake leaves it open for jobs that run elsewhere."""
    resources = job.resources
    asked = job.rule.resources.get("tmpdir") if resources.get("tmpdir") is not None else None
    if asked is None:
        return resources
    if getattr(asked, "raw", None) != "system_tmpdir":
        expanded = job.rule.expand_resources(job.wildcards_dict, job.input, job.attempt)
        tmpdir = str(expanded.get("tmpdir") or tmpdir)
    return type(resources)(fromdict={**dict(resources.items()), "tmpdir": tmpdir})


def set_by_snakefile() -> dict[str, str | None]:
    """What the Snakefile has changed in `os.environ`: local jobs inherit it, and a Snakemake on a node does it again.

    PATH and the environments beside it are left out: a node has its own, see `shared_environment`.
    """
    now = dict(os.environ)
    changed: dict[str, str | None] = {name: value for name, value in now.items() if _AT_START.get(name) != value}
    changed.update({name: None for name in _AT_START if name not in now})
    return {k: v for k, v in changed.items() if k not in ("PATH", "VIRTUAL_ENV") and not k.startswith("CONDA_")}


def declared_envvars(workflow: Any) -> dict[str, str]:
    """The values of the workflow's `envvars:` and of --envvars."""
    names: Iterable[str] = {*workflow.envvars, *workflow.remote_execution_settings.envvars}
    return {name: os.environ[name] for name in names if name in os.environ}


def variables_shells_drop() -> dict[str, str]:
    """Variables whose names a POSIX shell drops, such as the functions that bash exports (`module` is one)."""
    return {name: value for name, value in os.environ.items() if not name.isidentifier()}


def shared_environment(same: frozenset[str], node_path: str) -> dict[str, str]:
    """PATH, VIRTUAL_ENV and CONDA_* of the controller, as far as their directories are the same on the node."""
    env: dict[str, str] = {}
    theirs = node_path.split(":") if node_path else []
    ours = [entry for entry in os.environ.get("PATH", "").split(":") if entry in same and entry not in theirs]
    if ours:
        env["PATH"] = ":".join([*ours, *theirs])
    if os.environ.get("VIRTUAL_ENV") in same:
        env["VIRTUAL_ENV"] = os.environ["VIRTUAL_ENV"]
    if os.environ.get("CONDA_PREFIX") in same:
        env.update({k: v for k, v in os.environ.items() if k.startswith("CONDA_")})
    return env


def shareable_paths() -> list[list[Any]]:
    """The directories that `shared_environment` may want, as [path, inode, mtime_ns]: equal on one filesystem."""
    wanted = [*os.environ.get("PATH", "").split(":")]
    wanted += [os.environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    found = []
    for path in dict.fromkeys(wanted):
        try:
            status = Path(path).stat()
        except OSError:
            continue
        if path.startswith("/"):
            found.append([path, status.st_ino, status.st_mtime_ns])
    return found
