"""A Snakemake job as the pool sees it: its request and its rank."""

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from ..config.settings import STALL_MIN_S
from ..core.model import JobSpec, Request
from ..errors import HarborError

MINUTE_S = 60.0


def spec_of(job: Any, id: str, attempt: int, depth: int, needs: tuple[str, ...]) -> JobSpec:
    """The JobSpec of a job or group. Raises HarborError for a resource that makes no sense, naming rule and key."""
    resources = job.resources
    node = resources.get("node")
    constraint = resources.get("constraint")
    request = Request(
        cores=max(1, int(job.threads or 1)),
        mem_mb=_stated(job, "mem_mb"),
        disk_mb=_stated(job, "disk_mb"),
        gpus=_number(job, "gpu"),
        node=str(node) if node else None,
        constraint=frozenset(re.split(r"[\s,&]+", str(constraint).strip())) if constraint else frozenset(),
        needs=needs,
    )
    return JobSpec(
        id, request, attempt, job.name, priority=int(job.priority), depth=depth, stall_after=_stall_after(job)
    )


def _stall_after(job: Any) -> float | None:
    """Seconds without a sign of life that this job may take; None for the pool's."""
    if job.resources.get("stall_after") is None:
        return None
    seconds = _number(job, "stall_after")
    if 0 < seconds < STALL_MIN_S:
        raise HarborError(f"rule {job.name}: resource stall_after={seconds} must be at least {STALL_MIN_S} seconds.")
    return seconds or None


def runtime_s(job: Any) -> float | None:
    """Seconds after which the job is killed; None without a `runtime` resource (minutes)."""
    minutes = job.resources.get("runtime")
    if not isinstance(minutes, (int, float)) or isinstance(minutes, bool):
        return None
    return minutes * MINUTE_S


def progress_pattern(job: Any) -> str | None:
    """The `progress` resource, checked: a regular expression with two groups, done and total."""
    pattern = job.resources.get("progress")
    if not pattern:
        return None
    where = f"rule {job.name}: resource progress={pattern!r}"
    try:
        groups = re.compile(str(pattern)).groups
    except re.error as error:
        raise HarborError(f"{where} is not a regular expression: {error}.") from error
    if groups != 2:
        raise HarborError(
            f"{where} has {groups} groups; it needs two, done and total.", r"progress=r'step (\d+) of (\d+)'"
        )
    return str(pattern)


def _stated(job: Any, name: str) -> int:
    """A resource as far as somebody asked for it: 0 where Snakemake has filled in a guess of its own.

    With any --default-resources, jobs have Snakemake's built-in defaults too, such as 50,000 MB of disk.
    """
    if not job.is_group():
        return 0 if _is_guess(job.rule.resources.get(name)) else _number(job, name)
    whole = _number(job, name)
    # As Snakemake adds up a group: jobs of one level may run together, levels follow each other.
    return min(whole, max((sum(_stated(member, name) for member in level) for level in job.toposorted), default=0))


def _is_guess(resource: Any) -> bool:
    evaluator = getattr(resource, "_evaluator", None)
    return evaluator is not None and _is_builtin(evaluator)


@cache
def _is_builtin(evaluator: Callable[..., Any]) -> bool:
    """Whether a resource is computed by the text of one of Snakemake's built-in defaults."""
    from snakemake.resources import Resources

    return option_text(evaluator) in Resources.DEFAULTS["full"].items()


def option_text(evaluator: Callable[..., Any]) -> tuple[str, str] | None:
    """The name and expression of a resource that was given as an option; None for functions from elsewhere."""
    function = inspect.unwrap(evaluator)
    if not inspect.isfunction(function):
        return None
    known = inspect.getclosurevars(function).nonlocals
    name, text = known.get("name"), known.get("value")
    return (name, text) if isinstance(name, str) and isinstance(text, str) else None


def _number(job: Any, name: str) -> int:
    value = job.resources.get(name)
    # A resource that depends on inputs which are not there yet is "<TBD>"; it is known when the job is ready.
    if value is None or (isinstance(value, str) and value == "<TBD>"):
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise HarborError(f"rule {job.name}: resource {name}={value!r} must be a number from 0.")
    return int(value)
