"""Changes of the threads that rules ask for.

The change is made in the rules, before any command is made. So `{threads}`, the environment, and functions of
`threads` in resources and params all follow it.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

from . import group as group_internals


def threads_of(job: Any) -> int:
    """The job's threads; 0 if they depend on files that do not exist yet."""
    try:
        return int(job.threads)
    except Exception:
        return 0


def limit_rule_threads(workflow: Any, limit: int, on_limit: Callable[[str, int], object]) -> None:
    """Have each rule that is not local ask for at most `limit` threads.

    `on_limit` is called with the rule's name and its threads when a function of the rule asks for more.
    """
    for rule in workflow.rules:
        if not workflow.is_local(rule):
            rule.resources["_cores"] = _limited(rule, limit, on_limit)


def _limited(rule: Any, limit: int, on_limit: Callable[[str, int], object]) -> Any:
    stated = rule.resources["_cores"]
    if not stated.is_evaluable():
        return type(stated)("_cores", _at_most(limit, stated.value))

    # `wraps` keeps the names of the parameters, because Snakemake passes arguments by them.
    @functools.wraps(stated._evaluator)
    def limited(*args: Any, **kwargs: Any) -> Any:
        threads = stated._evaluator(*args, **kwargs)
        if _at_most(limit, threads) != threads:
            on_limit(rule.name, threads)
        return _at_most(limit, threads)

    return type(stated)("_cores", limited, raw=stated.raw)


def _at_most(limit: int, threads: Any) -> Any:
    """The smaller number. Threads that Snakemake determines later are not a number."""
    return min(threads, limit) if isinstance(threads, (int, float)) else threads


def forget_computed_values(job: Any) -> None:
    """Have Snakemake compute again what it has computed from the job's threads."""
    job._resources = job._params = job._non_derived_params = None


def limit_group_threads(group: Any, threads: int) -> None:
    """Have the jobs of a group share this many threads."""
    group.global_resources = group.global_resources.copy()
    group.global_resources["_cores"] = threads
    group._resources = None


def least_threads(group: Any) -> int:
    """The threads that the group needs at least, because jobs that pipes or services connect run at the same time."""
    units = [unit for level in group_internals.units(group) for unit in level]
    return max((sum(threads_of(job) for job in unit) for unit in units), default=0)


def set_handover_cores(workflow: Any) -> None:
    """Give the `handover:` rules the cores of this machine, where they run, unless --cores is given.

    Snakemake gives them all available cores. Without --cores that is no number, and Snakemake fails as soon as the
    first of these rules is due.
    """
    for rule in workflow.rules:
        cores = rule.resources["_cores"]
        if rule.is_handover and not cores.is_evaluable() and cores.value is None:
            rule.resources["_cores"] = os.cpu_count() or 1
