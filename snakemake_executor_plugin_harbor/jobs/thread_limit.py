"""Threads are cut down to the largest node, as the local executor cuts them down to the machine.

Workflows from elsewhere ask for what their authors' machines had. The cut is made in the rules, before any command is
made. So `{threads}`, the environment, and functions of `threads` in resources and params all follow it.
"""

import functools
import os
from collections.abc import Iterable
from typing import Any

from ..core.model import NodeState
from ..run.snapshot import NodeSnapshot


def largest_node(nodes: Iterable[NodeSnapshot]) -> int | None:
    """The slots of the largest node; None while a node may turn out to be larger than those that have answered."""
    usable = [node for node in nodes if node.state != NodeState.REJECTED and not node.leaving]
    if not usable or any(node.facts is None and node.spec.slots is None for node in usable):
        return None
    return max(node.slots for node in usable) or None


def set_handover_cores(workflow: Any) -> None:
    """Give the `handover:` rules this machine's cores where no --cores says how many; they run here.

    Snakemake gives them "all available resources", which is no number then, and fails when the first of them is due.
    """
    for rule in workflow.rules:
        cores = rule.resources["_cores"]
        if rule.is_handover and not cores.is_evaluable() and cores.value is None:
            rule.resources["_cores"] = os.cpu_count() or 1


class ThreadLimit:
    """Holds for all jobs of a run that go to nodes, also for those of rules that a checkpoint adds later."""

    def __init__(self, workflow: Any, slots: int, logger: Any) -> None:
        self._slots = slots
        self._logger = logger
        self._said: set[str] = set()
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local and _threads(job) > slots]
        for job in jobs:
            self._note(job.rule.name, _threads(job))
        for rule in workflow.rules:
            if not workflow.is_local(rule):
                rule.resources["_cores"] = self._limited(rule)
        for job in jobs:
            _forget(job)

    def limit_group(self, group: Any) -> None:
        """Have the jobs of a group share what one node has, where they would need more side by side."""
        if _threads(group) > self._slots and not any(job.is_pipe or job.is_service for job in group.jobs):
            self._note(f"group {group.groupid}", _threads(group))
            group.global_resources = group.global_resources.copy()
            group.global_resources["_cores"] = self._slots
            group._resources = None

    def _limited(self, rule: Any) -> Any:
        asked = rule.resources["_cores"]
        if not asked.is_evaluable():
            return type(asked)("_cores", self._cut(asked.value))

        # Snakemake looks at the names of a function's parameters: `wraps` keeps them.
        @functools.wraps(asked._evaluator)
        def limited(*args: Any, **kwargs: Any) -> Any:
            threads = asked._evaluator(*args, **kwargs)
            if self._cut(threads) != threads:
                self._note(rule.name, threads)
            return self._cut(threads)

        return type(asked)("_cores", limited, raw=asked.raw)

    def _cut(self, threads: Any) -> Any:
        return min(threads, self._slots) if isinstance(threads, (int, float)) else threads

    def _note(self, name: str, threads: int) -> None:
        if name not in self._said:
            self._said.add(name)
            self._logger.warning(
                f"harbor: {name}: {threads} threads are cut down to {self._slots}, the slots of the largest node."
            )


def _threads(job: Any) -> int:
    """0 where they depend on files that are not there yet."""
    try:
        return int(job.threads)
    except Exception:
        return 0


def _forget(job: Any) -> None:
    """Snakemake keeps what it has computed from a job's threads."""
    job._resources = job._params = job._non_derived_params = None
