"""Snakemake's scheduler plugin `harbor`. It hands ready jobs over in order, and the pool places them.

Snakemake's own selection solves a knapsack problem. Its greedy solution takes time that grows with the square of the
number of ready jobs (44 % of Snakemake's main process at 2,000 ready jobs). With harbor there is no such problem,
because memory, GPUs and cores belong to nodes, and the pool knows the nodes. The plugin only has to order the jobs and
to limit their number.

The limit keeps harbor's queue short, because Snakemake counts each job that it has handed over as running. Jobs that
can run on the same nodes form one class. Each class may hold at most twice the slots of its nodes. With any other
executor, the resources that Snakemake knows are the only limit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from snakemake_interface_scheduler_plugins.base import SchedulerBase
from snakemake_interface_scheduler_plugins.settings import SchedulerSettingsBase

from snakemake_executor_plugin_harbor.core.dag_depth import DagDepths


class SchedulerSettings(SchedulerSettingsBase):  # type: ignore[misc]
    """The plugin has no settings."""


class Scheduler(SchedulerBase):  # type: ignore[misc]
    """Selects ready jobs by priority, then by depth in the DAG, as far as resources and the limits allow."""

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
        """Return the jobs to hand over now, best first. This takes one sort and one pass over the ready jobs."""
        left = {name: value for name, value in available_resources.items() if isinstance(value, int)}
        local: list[Any] = []
        remote: list[Any] = []
        for job in selectable_jobs:
            (local if self._is_local(job) else remote).append(job)
        selected = [job for job in sorted(local, key=self._rank) if _subtract(job, left)]
        executor: Any = self.dag.workflow.scheduler.get_executor(remote[0]) if remote else None
        limits = executor.hand_over_limits() if hasattr(executor, "hand_over_limits") else None
        remote.sort(key=self._rank)
        for job in remote:
            if limits is None:
                if _subtract(job, left):
                    selected.append(job)
                continue
            request = self._request(executor, job)
            if limits.cores_left(request) > 0 and _subtract(job, left):
                limits.add(request)
                selected.append(job)
        for job in selected:
            del self._ranks[job], self._local[job]
            self._requests.pop(job, None)
        return selected

    def _rank(self, job: Any) -> tuple[int, int]:
        """Return the job's rank. The lowest rank comes first.

        The rank is stored, because each round visits a ready job again until the job is selected. The same holds for
        `_is_local` and `_request`.
        """
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
        """Return what the job asks of a node. The executor knows that."""
        request = self._requests.get(job)
        if request is None:
            request = self._requests[job] = executor.request(job)
        return request


def _subtract(job: Any, left: dict[str, int]) -> bool:
    """If the job fits into the resources that are left, subtract its resources. Return whether it fits."""
    wanted = [(n, v) for n, v in job.scheduler_resources.items() if n in left and isinstance(v, int)]
    if any(left[name] < value for name, value in wanted):
        return False
    for name, value in wanted:
        left[name] -= value
    return True
