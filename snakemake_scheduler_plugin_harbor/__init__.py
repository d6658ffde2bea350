"""Snakemake scheduler plugin `harbor`: hands ready jobs over in order; the pool places them.

Snakemake's own selection solves a knapsack problem, greedily in time that grows with the square of the ready jobs
(44 % of its main process at 2,000). With harbor there is nothing to pack: memory, GPUs and cores belong to nodes,
and the pool knows those. What is left is an order and a limit. The limit keeps harbor's queue short, because
Snakemake counts what it has handed over as running: for each class of jobs that can go to the same nodes, at most
twice the slots of these nodes. With any other executor the resources that Snakemake knows of are the only limit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase
from snakemake_interface_scheduler_plugins.settings import SchedulerSettingsBase

from snakemake_executor_plugin_harbor.core.dag_depth import DagDepths


class SchedulerSettings(SchedulerSettingsBase):  # type: ignore[misc]
    """There is nothing to set."""


class Scheduler(SchedulerBase):  # type: ignore[misc]
    """Ready jobs by priority, then deepest in the DAG first, as far as resources and the pool's queue go."""

    def __post_init__(self) -> None:
        self._depths = DagDepths(self.dag.job_dependencies)
        self._local: dict[Any, bool] = {}
        self._ranks: dict[Any, tuple[int, int]] = {}
        self._requests: dict[Any, Any] = {}

    def select_jobs(
        self,
        selectable_jobs: Iterable[Any],
        remaining_jobs: Iterable[Any],
        available_resources: Mapping[str, Any],
        input_sizes: Mapping[Any, int],
    ) -> Sequence[Any]:
        """The jobs to hand over now, best first. One sort and one pass over the ready jobs."""
        left = {name: value for name, value in available_resources.items() if isinstance(value, int)}
        local: list[Any] = []
        remote: list[Any] = []
        for job in selectable_jobs:
            (local if self._is_local(job) else remote).append(job)
        selected = [job for job in sorted(local, key=self._rank) if _take(job, left)]
        executor: Any = self.dag.workflow.scheduler.get_executor(remote[0]) if remote else None
        limits = executor.hand_over_limits() if hasattr(executor, "hand_over_limits") else None
        remote.sort(key=self._rank)
        for job in remote:
            if limits is None:
                if _take(job, left):
                    selected.append(job)
                continue
            request = self._request(executor, job)
            if limits.left(request) > 0 and _take(job, left):
                limits.take(request)
                selected.append(job)
        for job in selected:
            del self._ranks[job], self._local[job]
            self._requests.pop(job, None)
        return selected

    def _rank(self, job: Any) -> tuple[int, int]:
        """Best first. Remembered, like `_is_local`: a ready job is looked at in every round until it is taken."""
        rank = self._ranks.get(job)
        if rank is None:
            rank = self._ranks[job] = (-job.priority, -self._depths.depth_of(job))
        return rank

    def _is_local(self, job: Any) -> bool:
        local = self._local.get(job)
        if local is None:
            local = self._local[job] = job.is_local
        return local

    def _request(self, executor: Any, job: Any) -> Any:
        """What the job asks of a node; the executor's business."""
        request = self._requests.get(job)
        if request is None:
            request = self._requests[job] = executor.request(job)
        return request


def _take(job: Any, left: dict[str, int]) -> bool:
    """Whether the job fits into what is left of Snakemake's resources, which then is less."""
    wanted = [(n, v) for n, v in job.scheduler_resources.items() if n in left and isinstance(v, int)]
    if any(left[name] < value for name, value in wanted):
        return False
    for name, value in wanted:
        left[name] -= value
    return True
