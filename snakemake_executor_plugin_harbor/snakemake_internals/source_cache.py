"""Snakemake's cache of Snakefiles, scripts and wrappers, which lies in the controller's home directory.

It has two parts: files of releases, which it keeps for many runs, and a runtime cache for everything else, which is
another directory in each run.
"""

import contextlib
from pathlib import Path
from typing import Any


def release_directory(workflow: Any) -> Path:
    """The directory of the files that the cache keeps for many runs."""
    return Path(workflow.sourcecache.cache_path)


def runtime_directory(workflow: Any) -> Path:
    """The directory of the files that the cache keeps for this run."""
    return Path(workflow.sourcecache.runtime_cache_path)


def move_runtime_directory(workflow: Any, directory: Path) -> None:
    """Have Snakemake cache new files in this directory, and pass it to Snakemakes on nodes."""
    workflow.sourcecache._runtime_cache_path = str(directory)


def without_runtime_directory(rule: Any, text: str) -> str:
    """The text without the path of the runtime cache, which is another one in each run."""
    cache = rule.workflow.sourcecache
    for directory in (str(cache.runtime_cache_path), cache.runtime_cache.name if cache.runtime_cache else None):
        if directory and directory in text:
            text = text.replace(directory, "")
    return text


def cache_script(job: Any) -> None:
    """Cache the script, notebook or wrapper of a job now, so that a Snakemake on a node finds it in the cache."""
    from snakemake.script import get_source
    from snakemake.wrapper import get_script

    workflow, rule = job.rule.workflow, job.rule
    # If it cannot be found, Snakemake reports that when the job runs.
    with contextlib.suppress(Exception):
        if rule.wrapper:
            get_script(rule.wrapper, workflow.sourcecache, prefix=workflow.workflow_settings.wrapper_prefix)
        elif rule.script or rule.notebook:
            path = rule.script or rule.notebook
            get_source(path, workflow.sourcecache, rule.basedir, job.wildcards, job.params)
