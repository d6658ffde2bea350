"""Limits the threads of jobs to the slots of the largest node, as the local executor limits them to its machine.

Workflows from elsewhere ask for as many threads as their authors' machines had.
"""

from collections.abc import Iterable
from typing import Any

from ..core.model import NodeState
from ..run.snapshot import NodeSnapshot
from ..snakemake_internals import dag, threads


def largest_node(nodes: Iterable[NodeSnapshot]) -> int | None:
    """The slots of the largest node; None if a node that has not answered may be larger than the others."""
    usable = [node for node in nodes if node.state != NodeState.REJECTED and not node.leaving]
    if not usable or any(node.facts is None and node.spec.slots is None for node in usable):
        return None
    return max(node.slots for node in usable) or None


class ThreadLimit:
    """Applies to all jobs of a run that go to nodes, also to those that a checkpoint adds later."""

    def __init__(self, workflow: Any, slots: int, logger: Any) -> None:
        self._slots = slots
        self._logger = logger
        self._logged: set[str] = set()
        jobs = [job for job in dag.jobs_for_nodes(workflow) if threads.threads_of(job) > slots]
        for job in jobs:
            self._log(job.rule.name, threads.threads_of(job))
        threads.limit_rule_threads(workflow, slots, self._log)
        for job in jobs:
            threads.forget_computed_values(job)

    def limit_group(self, group: Any) -> None:
        """Have the jobs of a group share the slots of one node, if they would need more side by side."""
        if threads.threads_of(group) > self._slots and threads.least_threads(group) <= self._slots:
            self._log(f"group {group.groupid}", threads.threads_of(group))
            threads.limit_group_threads(group, self._slots)

    def _log(self, name: str, wanted: int) -> None:
        """Write one line per rule or group."""
        if name not in self._logged:
            self._logged.add(name)
            self._logger.warning(
                f"harbor: {name}: {wanted} threads are reduced to {self._slots}, the slots of the largest node."
            )
