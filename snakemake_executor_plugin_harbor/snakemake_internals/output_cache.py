"""Snakemake's between-workflow cache, which keeps the outputs of rules with `cache:`."""

import os
from typing import Any

from snakemake_interface_executor_plugins.utils import format_cli_arg


def is_cached(workflow: Any, job: Any) -> bool:
    """Return True if the job's outputs belong into the cache."""
    return bool(is_enabled(workflow) and not job.is_group() and job.rule.cache and job.rule.cache.output)


def forwarded_option(workflow: Any) -> str:
    """The option --cache as Snakemake passes it to a Snakemake on a node. It is empty without names of rules."""
    return str(format_cli_arg("--cache", workflow.workflow_settings.cache))


def is_enabled(workflow: Any) -> bool:
    """Return True if the run uses the cache (--cache)."""
    return workflow.workflow_settings.cache is not None


def fetch(workflow: Any, job: Any) -> bool:
    """Fetch the job's outputs from the cache. Return False if they are not in it."""
    if not is_cached(workflow, job):
        return False
    from snakemake.exceptions import CacheMissException

    try:
        workflow.async_run(job.rule.cache.fetch(job))
    except CacheMissException:
        return False
    return True


def needs_store(workflow: Any, job: Any) -> bool:
    """Return True if the outputs of a job that has ended still have to be moved into the cache.

    A Snakemake on the node that knew the cache has already moved them and has left links.
    """
    if not is_cached(workflow, job):
        return False
    place = os.path.realpath(getattr(workflow.output_file_cache, "path", os.devnull))
    return not any(os.path.islink(file) and os.path.realpath(file).startswith(f"{place}/") for file in job.output)


def store(job: Any) -> None:
    """Move the job's outputs into the cache. It may be called on any thread."""
    from snakemake.common import async_run

    async_run(job.rule.cache.store(job))
