"""Shadow directories that do not contain each other.

For `shadow: "full"` Snakemake copies the tree of the working directory. It leaves out `.snakemake`, but it walks
through it and follows links on the way. Each shallow shadow directory contains a link to `.snakemake`, where all shadow
directories are. With two of them there are 2 to the power of 40 paths, because the kernel follows 40 links, so the walk
does not end. The local executor has the same fault, but it seldom prepares as many jobs at once.

So the functions `os.walk` and `os.symlink` are replaced in Snakemake's module `jobs`, which calls both only to make
shadow directories. The shadow directories of local rules are made in the same way.

Snakemake's local executor runs a local rule with `shadow:` in a process of its own, but in a thread of the main process
if the other jobs run elsewhere. There it changes the working directory of the whole process, so all relative paths of
harbor and of Snakemake lead into the shadow directory until the job ends. So these jobs are spawned here, too.
(Snakemake 9.27, `run_single_job` of the local executor.)
"""

import os
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .contract import Feature
from .verify import has

SNAKEMAKE = ".snakemake"
SHADOW = "shadow"


def install(workflow: Any) -> None:
    """Replace these functions, once per process."""
    if has(Feature.SHADOW):
        _install(str(workflow.persistence.shadow_path))
        _spawn_local_jobs()


@cache
def _install(shadow_path: str) -> None:
    """`shadow_path` is the directory of all shadow directories."""
    import snakemake.jobs

    stand_in = types.ModuleType("os")
    stand_in.__dict__.update(os.__dict__)

    def walk(top: Any, topdown: bool = True, onerror: Any = None, followlinks: bool = False) -> Any:
        return tree(top, shadow_path) if followlinks else os.walk(top, topdown, onerror, followlinks)

    stand_in.walk = walk  # type: ignore[attr-defined]
    stand_in.symlink = link  # type: ignore[attr-defined]
    module: Any = snakemake.jobs
    module.os = stand_in


@cache
def _spawn_local_jobs() -> None:
    from snakemake.executors.local import Executor

    executor_class: Any = Executor
    run_single_job, get_job_args = executor_class.run_single_job, executor_class.get_job_args

    def spawn_if_shadow(executor: Any, job: Any) -> Any:
        if not job.is_shadow or job.is_norun:
            return run_single_job(executor, job)
        return executor.pool.submit(executor.cached_or_run, job, executor.spawn_job, job)

    def with_cores(executor: Any, job: Any, **options: Any) -> Any:
        # Without --cores there is no number, and the process that is spawned would fail.
        return get_job_args(executor, job, **{"cores": executor.cores or max(1, job.threads), **options})

    executor_class.run_single_job, executor_class.get_job_args = spawn_if_shadow, with_cores


def tree(top: str, shadow_path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk(top, followlinks=True)` without Snakemake's own directories. It always ends.

    A link to a directory that contains the link counts as a file, so a link to the original is made in its place.
    """
    hidden = {_identity(shadow_path), _identity(os.path.join(top, SNAKEMAKE))}
    waiting: list[tuple[str, tuple[tuple[int, int] | None, ...]]] = [(top, (_identity(top),))]
    while waiting:
        path, above = waiting.pop()
        directories: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(path) as entries:
                found = list(entries)
        except OSError:
            continue  # like os.walk
        for entry in found:
            identity = _identity(entry.path) if _is_directory(entry) else None
            if entry.name == SNAKEMAKE or (identity is not None and identity in hidden):
                continue
            if identity is None or (entry.is_symlink() and identity in above):
                files.append(entry.name)
            else:
                directories.append(entry.name)
                waiting.append((entry.path, (*above, identity)))
        yield path, directories, files


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def link(source: Any, target: Any, *args: Any, **options: Any) -> None:
    """`os.symlink`, but for `.snakemake` it makes a directory with links to everything except the shadow directories.

    So a walk through a shallow shadow directory, also on a node, does not reach the other shadow directories.
    """
    if Path(target).name != SNAKEMAKE or not os.path.isdir(source):
        os.symlink(source, target, *args, **options)
        return
    os.mkdir(target)
    for name in os.listdir(source):
        if name != SHADOW:
            os.symlink(os.path.join(os.path.abspath(source), name), os.path.join(target, name))
