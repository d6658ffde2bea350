"""The resources that a rule states, before Snakemake computes those of a job from them."""

import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from . import named_list

TO_BE_DETERMINED = "<TBD>"
"""Snakemake's value of a resource that depends on inputs which do not exist yet."""


def with_tmpdir(job: Any, tmpdir: str) -> Any:
    """The job's resources with `tmpdir` set to the node's directory, or to the one that the job asks for.

    Snakemake leaves `tmpdir` undetermined for jobs that run on another machine.
    """
    resources = job.resources
    stated = job.rule.resources.get("tmpdir") if resources.get("tmpdir") is not None else None
    if stated is None:
        return resources
    if getattr(stated, "raw", None) != "system_tmpdir":
        expanded = job.rule.expand_resources(job.wildcards_dict, job.input, job.attempt)
        tmpdir = str(expanded.get("tmpdir") or tmpdir)
    return type(resources)(fromdict={**dict(resources.items()), "tmpdir": tmpdir})


def is_builtin_default(job: Any, name: str) -> bool:
    """Return True if Snakemake has filled in the resource with one of its own defaults, which is a guess.

    With any --default-resources, jobs get these defaults too, such as 50,000 MB of disk.
    """
    evaluator = getattr(job.rule.resources.get(name), "_evaluator", None)
    return evaluator is not None and _is_builtin(evaluator)


@cache
def _is_builtin(evaluator: Callable[..., Any]) -> bool:
    from snakemake.resources import Resources

    return option_text(evaluator) in Resources.DEFAULTS["full"].items()


def option_text(evaluator: Callable[..., Any]) -> tuple[str, str] | None:
    """The name and expression of a resource that was given as an option; None for functions from elsewhere."""
    function = inspect.unwrap(evaluator)
    if not inspect.isfunction(function):
        return None
    variables = inspect.getclosurevars(function).nonlocals
    name, text = variables.get("name"), variables.get("value")
    return (name, text) if isinstance(name, str) and isinstance(text, str) else None


def as_options(resources: Any) -> list[str]:
    """NAME=VALUE for each resource as the user typed it. Functions of the Snakefile are left out, because no option
    can express them.

    Snakemake itself would keep `mem_mib=1000` as mem_mb 1048 and forward it as `mem_mb=1000`. It would not forward an
    expression for `mem`.
    """
    return [text for name, resource in resources.items() if (text := _as_option(name, resource))]


def _as_option(name: str, resource: Any) -> str | None:
    if not resource.is_evaluable():
        return None if resource.value is None else f"{name}={resource.value!r}"
    typed = option_text(resource._evaluator)
    return f"{typed[0]}={typed[1]}" if typed else None


def default_options(workflow: Any) -> list[str]:
    """The values of --default-resources."""
    return as_options(workflow.resource_settings._parsed_default_resources)


def are_defaults_given(workflow: Any) -> bool:
    """Return True if the user gave --default-resources. Without the option, `tmpdir` is the only default."""
    from snakemake.resources import Resources

    return default_options(workflow) != [f"{name}={text}" for name, text in Resources.DEFAULTS["bare"].items()]


def overwritten_options(workflow: Any) -> list[str]:
    """The values of --set-resources."""
    overwritten = workflow.resource_settings._parsed_overwrite_resources.items()
    return [f"{rule}:{text}" for rule, resources in overwritten for text in as_options(resources)]


def amounts(job: Any) -> dict[str, float]:
    """The cores and other amounts that a job or a group takes of its node or of the whole run."""
    found: dict[str, float] = {"_cores": max(1, int(job.threads))}
    for name, value in job.resources.items():
        guessed = not job.is_group() and is_builtin_default(job, name)
        if isinstance(value, int | float) and name not in ("_cores", "_nodes", "runtime") and not guessed:
            found[name] = value
    return found


def core_limit(workflow: Any, job: Any) -> int | None:
    """The cores that the workflow may use in all (--cores); None without a limit."""
    resources = job.global_resources if job.is_group() else workflow.global_resources
    limit = resources["_cores"].value
    return None if limit is None or limit == sys.maxsize else int(limit)


def undetermined(job: Any) -> tuple[list[str], list[str]]:
    """The names of the params, and of the resources, that Snakemake does not know yet, because they depend on missing
    files.
    """
    params = [str(name) for name, value in named_list.items(job.params) if _is_undetermined(value)]
    found = [name for name, value in job.resources.items() if name != "tmpdir" and _is_undetermined(value)]
    return params, sorted(found)


def _is_undetermined(value: Any) -> bool:
    if isinstance(value, (list, tuple, set)):
        return any(_is_undetermined(item) for item in value)
    return isinstance(value, str) and value == TO_BE_DETERMINED
