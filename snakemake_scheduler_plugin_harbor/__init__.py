"""Snakemake scheduler plugin `harbor`: hands ready jobs over in order; the pool places them.

Snakemake's own selection solves a knapsack problem, greedily in time that grows with the square of the ready jobs
(44 % of its main process at 2,000). With harbor there is nothing to pack: memory, GPUs and cores belong to nodes,
and the pool knows those. What is left is an order and a limit. The limit keeps harbor's queue short, because
Snakemake counts what it has handed over as running: at most twice the pool's slots. With any other executor the
resources that Snakemake knows of are the only limit.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase
from snakemake_interface_scheduler_plugins.settings import SchedulerSettingsBase

from snakemake_executor_plugin_harbor.depth import Depths


class SchedulerSettings(SchedulerSettingsBase):  # type: ignore[misc]
    """There is nothing to set."""


class Scheduler(SchedulerBase):  # type: ignore[misc]
    """Ready jobs by priority, then deepest in the DAG first, as far as resources and the pool's queue go."""

    def __post_init__(self) -> None:
        self._depths = Depths(self.dag.job_dependencies)
        self._local: dict[Any, bool] = {}
        self._ranks: dict[Any, tuple[int, int]] = {}

    def select_jobs(
        self,
        selectable_jobs: Iterable[Any],
        remaining_jobs: Iterable[Any],
        available_resources: Mapping[str, Any],
        input_sizes: Mapping[Any, int],
    ) -> Sequence[Any]:
        """The jobs to hand over now, best first. Linear in the ready jobs, but for the sort of those that fit."""
        left = {name: value for name, value in available_resources.items() if isinstance(value, int)}
        local: list[Any] = []
        remote: list[Any] = []
        for job in selectable_jobs:
            (local if self._is_local(job) else remote).append(job)
        room = self._room(remote)
        if room is not None and len(remote) > room:
            remote = heapq.nsmallest(max(room, 0), remote, key=self._rank)
        else:
            remote.sort(key=self._rank)
        selected = _fitting(sorted(local, key=self._rank), left, None) + _fitting(remote, left, room)
        for job in selected:
            del self._ranks[job], self._local[job]
        return selected

    def _rank(self, job: Any) -> tuple[int, int]:
        """Best first. Remembered, like `_is_local`: a ready job is looked at in every round until it is taken."""
        rank = self._ranks.get(job)
        if rank is None:
            rank = self._ranks[job] = (-job.priority, -self._depths.of_any(job))
        return rank

    def _is_local(self, job: Any) -> bool:
        local = self._local.get(job)
        if local is None:
            local = self._local[job] = job.is_local
        return local

    def _room(self, remote: list[Any]) -> int | None:
        """Cores that the executor still takes jobs for; None for executors that do not say."""
        if not remote:
            return None
        executor = self.dag.workflow.scheduler.get_executor(remote[0])
        return executor.room() if hasattr(executor, "room") else None


def _fitting(jobs: Iterable[Any], left: dict[str, int], room: int | None) -> list[Any]:
    """The jobs that fit one after the other; `left` is reduced by what they take."""
    chosen = []
    for job in jobs:
        wanted = job.scheduler_resources
        cores = max(1, wanted.get("_cores", 1))
        if room is not None and room <= 0:
            break
        if any(left.get(name, 0) < value for name, value in _known(wanted, left)):
            continue
        for name, value in _known(wanted, left):
            left[name] -= value
        if room is not None:
            room -= cores
        chosen.append(job)
    return chosen


def _known(wanted: Mapping[str, Any], left: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(name, value) for name, value in wanted.items() if name in left and isinstance(value, int)]
