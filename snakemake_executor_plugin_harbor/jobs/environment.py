"""The environment variables that a job gets in addition to those of its node."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..snakemake_internals import output_cache, settings

_AT_START = dict(os.environ)
"""The environment before a Snakefile was read. This module is imported with the plugin, which happens earlier."""


def of_attempt(
    workflow: Any, captured: Mapping[str, str | None], placed: Mapping[str, str], shared: Mapping[str, str]
) -> dict[str, str | None]:
    """The variables of one attempt; None removes one.

    `captured` is what Snakemake sets for the job. It overrides `envvars:`, as for a local job. `placed` describes the
    attempt's place (HARBOR_*), and `shared` is the part of the controller's environment that is valid on the node.
    """
    return {
        **shared,
        **set_by_snakefile(),
        **settings.environment_variables(workflow),
        **captured,
        **placed,
    }


def of_spawned_snakemake(executor: Any) -> dict[str, str | None]:
    """The variables of a Snakemake on a node."""
    env: dict[str, str | None] = dict(executor.envvars())
    if output_cache.is_enabled(executor.workflow) and "SNAKEMAKE_OUTPUT_CACHE" in os.environ:
        env["SNAKEMAKE_OUTPUT_CACHE"] = os.environ["SNAKEMAKE_OUTPUT_CACHE"]
    # Its command line already contains the controller's profile, which must not be applied again.
    env["SNAKEMAKE_PROFILE"] = None
    return env


def set_by_snakefile() -> dict[str, str | None]:
    """The variables that the Snakefile has changed in `os.environ`. Local jobs inherit them, and a Snakemake on a node
    sets them again.

    PATH, VIRTUAL_ENV and CONDA_* are left out, because a node has its own (see `shared_environment`).
    """
    now = dict(os.environ)
    changed: dict[str, str | None] = {name: value for name, value in now.items() if _AT_START.get(name) != value}
    changed.update({name: None for name in _AT_START if name not in now})
    return {k: v for k, v in changed.items() if k not in ("PATH", "VIRTUAL_ENV") and not k.startswith("CONDA_")}


def variables_shells_drop() -> dict[str, str]:
    """The variables that a POSIX shell does not pass on because of their names. Functions that bash exports, such as
    `module`, are among them.
    """
    return {name: value for name, value in os.environ.items() if not name.isidentifier()}


def shared_environment(shared_paths: frozenset[str], node_path: str) -> dict[str, str]:
    """The controller's PATH, VIRTUAL_ENV and CONDA_*, as far as the node has the same directories.

    `node_path` is the node's own PATH.
    """
    env: dict[str, str] = {}
    theirs = node_path.split(":") if node_path else []
    ours = [entry for entry in os.environ.get("PATH", "").split(":") if entry in shared_paths and entry not in theirs]
    if ours:
        env["PATH"] = ":".join([*ours, *theirs])
    if os.environ.get("VIRTUAL_ENV") in shared_paths:
        env["VIRTUAL_ENV"] = os.environ["VIRTUAL_ENV"]
    if os.environ.get("CONDA_PREFIX") in shared_paths:
        env.update({k: v for k, v in os.environ.items() if k.startswith("CONDA_")})
    return env


def shareable_paths() -> list[list[Any]]:
    """The directories that `shared_environment` uses, as [path, inode, mtime_ns].

    A node compares them with its own. They are equal only if both machines have the same filesystem there.
    """
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
