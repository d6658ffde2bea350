"""A Snakemake job as the pool sees it: what it asks of a node, and its rank."""

import re
from typing import Any

from ..config.settings import STALL_MIN_S
from ..core.model import JobSpec, Request
from ..errors import HarborError
from ..snakemake_internals import job as internals
from ..snakemake_internals import rule_resources
from .ranks import Ranks

MINUTE_S = 60.0
NO_RANKS = Ranks()


def spec_of(job: Any, id: str, attempt: int, depth: int, needs: tuple[str, ...], ranks: Ranks = NO_RANKS) -> JobSpec:
    """The JobSpec of a job or group. Raises HarborError with rule and name for a resource whose value is invalid."""
    resources = job.resources
    node, task = _place(job, ranks)
    constraint = resources.get("constraint")
    request = Request(
        cores=max(1, int(job.threads or 1)),
        mem_mb=_requested(job, "mem_mb"),
        disk_mb=_requested(job, "disk_mb"),
        gpus=_number(job, "gpu"),
        node=node,
        constraint=frozenset(re.split(r"[\s,&]+", str(constraint).strip())) if constraint else frozenset(),
        needs=needs,
        task=task,
    )
    rule, stall_after = internals.name(job), _stall_after(job)
    return JobSpec(id, request, attempt, rule, priority=int(job.priority), depth=depth, stall_after=stall_after)


def _place(job: Any, ranks: Ranks) -> tuple[str | None, int | None]:
    """The node that the job is pinned to, and its number there, as far as `node` or `rank` states them.

    A group has the rank of its jobs, if they state only one.
    """
    node, rank = job.resources.get("node"), job.resources.get("rank")
    if rank is None or rank == rule_resources.TO_BE_DETERMINED:
        return str(node) if node else None, None
    name = internals.name(job)
    stated = {member.resources.get("rank") for member in internals.members(job)} - {None}
    if node or len(stated) > 1:
        other = "the resource node" if node else "another rank in the group"
        raise HarborError(f"rule {name}: resource rank={rank!r} does not go with {other}; the rank gives the node.")
    return ranks.place(name, _number(job, "rank"))


def _stall_after(job: Any) -> float | None:
    """Seconds without output or progress after which the job counts as stalled; None for the pool's setting."""
    if job.resources.get("stall_after") is None:
        return None
    seconds = _number(job, "stall_after")
    if 0 < seconds < STALL_MIN_S:
        rule = internals.name(job)
        raise HarborError(f"rule {rule}: resource stall_after={seconds} must be at least {STALL_MIN_S} seconds.")
    return seconds or None


def runtime_s(job: Any) -> float | None:
    """Seconds after which the job is killed; None without a `runtime` resource (minutes)."""
    minutes = job.resources.get("runtime")
    if not isinstance(minutes, (int, float)) or isinstance(minutes, bool):
        return None
    return minutes * MINUTE_S


def progress_pattern(job: Any) -> str | None:
    """The checked `progress` resource: a regular expression with two groups, done and total."""
    pattern = job.resources.get("progress")
    if not pattern:
        return None
    where = f"rule {internals.name(job)}: resource progress={pattern!r}"
    try:
        groups = re.compile(str(pattern)).groups
    except re.error as error:
        raise HarborError(f"{where} is not a regular expression: {error}.") from error
    if groups != 2:
        raise HarborError(
            f"{where} has {groups} groups; it needs two, done and total.", r"progress=r'step (\d+) of (\d+)'"
        )
    return str(pattern)


def _requested(job: Any, name: str) -> int:
    """The value of a resource if a user stated it; 0 if Snakemake has filled it in with a guess of its own."""
    if not job.is_group():
        return 0 if rule_resources.is_builtin_default(job, name) else _number(job, name)
    whole = _number(job, name)
    # Snakemake adds up a group like this: jobs of one level may run together, and levels follow each other.
    return min(whole, max((sum(_requested(member, name) for member in level) for level in job.toposorted), default=0))


def _number(job: Any, name: str) -> int:
    value = job.resources.get(name)
    # A resource that depends on inputs which do not exist yet is known when the job is ready.
    if value is None or (isinstance(value, str) and value == rule_resources.TO_BE_DETERMINED):
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise HarborError(f"rule {internals.name(job)}: resource {name}={value!r} must be a number from 0.")
    return int(value)
