"""All classes of waiting jobs, and the questions that they ask nodes."""

from collections.abc import Callable, Iterator, Mapping

from .feasibility import Refusal, permanent_reason, temporary_reason
from .job import Job
from .job_class import JobClass, JobRank, QueueEntry
from .model import Request
from .node import NodeView
from .node_cache import NodeCache
from .node_reason import NodeReason
from .placement import SHUNNED, Rank, rank_of
from .policy import Policy
from .progress import RuleDurations


class CurrentReasons(Mapping[str, str]):
    """The reason of each node, computed when somebody reads it."""

    def __init__(self, reasons: Callable[[], dict[str, NodeReason]]) -> None:
        self._reasons = reasons

    def __getitem__(self, name: str) -> str:
        return str(self._reasons()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._reasons())

    def __len__(self) -> int:
        return len(self._reasons())


class JobClasses:
    """The classes by request and avoided nodes. `next_number` returns unique numbers that grow."""

    def __init__(
        self,
        nodes: Mapping[str, NodeView],
        policy: Policy,
        durations: RuleDurations,
        cache: NodeCache,
        next_number: Callable[[], int],
    ) -> None:
        self.asked = 0
        self._nodes = nodes
        self._policy = policy
        self._durations = durations
        self._cache = cache
        self._next_number = next_number
        self._classes: dict[tuple[Request, frozenset[str]], JobClass] = {}
        self._emptied: list[JobClass] = []
        self._only_avoided: dict[int, JobClass] = {}

    def __iter__(self) -> Iterator[JobClass]:
        return iter(self._classes.values())

    def rank(self, job: Job) -> JobRank:
        """Order by priority, then longest expected duration, then depth in the DAG, then age."""
        spec = job.spec
        return (-spec.priority, -self._durations.expected(spec.rule), -spec.depth, job.order)

    # --- jobs -----------------------------------------------------------------------------------------------

    def add(self, job: Job) -> JobClass:
        """Queue a job in its class."""
        job_class = self._class_of(job)
        job_class.add(job, self._next_number())
        return job_class

    def remove(self, entry: QueueEntry) -> None:
        """Remove a job from its class."""
        entry.job.queue_entry = None
        entry.job_class.count -= 1
        if not entry.job_class.count:
            self._emptied.append(entry.job_class)

    def remove_empty(self) -> None:
        """Delete the classes that have lost their last job."""
        for job_class in self._emptied:
            key = (job_class.request, job_class.avoid)
            if not job_class.count and self._classes.get(key) is job_class:
                del self._classes[key]
                self._only_avoided.pop(job_class.number, None)
        self._emptied.clear()

    def _class_of(self, job: Job) -> JobClass:
        key = (job.spec.request, frozenset(job.avoid))
        job_class = self._classes.get(key)
        if job_class is None:
            refusal = Refusal(CurrentReasons(lambda: self.reasons(*key)))
            job_class = self._classes[key] = JobClass(self._next_number(), *key, refusal)
            for name, node in self._nodes.items():
                self._update_possible(job_class, name, node)
                self.update_offer(job_class, name)
        return job_class

    # --- nodes ----------------------------------------------------------------------------------------------

    def node_changed(self, name: str, node: NodeView, *, only_load: bool) -> list[JobClass]:
        """Ask a node again for every class. Return the classes that may start a job now. If `only_load`, nothing but
        the node's load has changed.
        """
        may_start = []
        for job_class in self._classes.values():
            if not only_load:
                self._update_possible(job_class, name, node)
            self.update_offer(job_class, name)
            if name in job_class.offers.current or not only_load:
                may_start.append(job_class)
        return may_start

    def disk_space_freed(self) -> list[JobClass]:
        """The working directory has more space: ask the nodes that lacked nothing else. Return their classes."""
        asked = [job_class for job_class in self._classes.values() if job_class.short_of_disk]
        for job_class in asked:
            for name in list(job_class.short_of_disk):
                self.update_offer(job_class, name)
        return asked

    def forget_node(self, name: str) -> None:
        """A node has left the pool."""
        for job_class in self._classes.values():
            job_class.forget_node(name)

    def _update_possible(self, job_class: JobClass, name: str, node: NodeView) -> None:
        if permanent_reason(job_class.request, node, self._policy) is None:
            job_class.impossible.discard(name)
        else:
            job_class.impossible.add(name)

    def update_offer(self, job_class: JobClass, name: str) -> None:
        """Ask a node for its offer to a class, which replaces its earlier one."""
        self._set_offer(job_class, name, self._ask(job_class, name))

    def _set_offer(self, job_class: JobClass, name: str, rank: Rank | None) -> None:
        if rank is None:
            job_class.offers.withdraw(name)
        else:
            job_class.offers.add(name, rank, self._next_number())

    def _ask(self, job_class: JobClass, name: str) -> Rank | None:
        """Return the rank of a node for a class, or None if the node cannot take one of its jobs now."""
        self.asked += 1
        job_class.short_of_disk.discard(name)
        node = self._nodes.get(name)
        if node is None or name in job_class.impossible:
            return None
        request, free, promised = job_class.request, self._cache.free(name), self._cache.promised_disk_mb
        if temporary_reason(request, node, free, promised, self._policy) is None:
            return rank_of(request, node, free, name in job_class.avoid)
        if request.disk_mb and temporary_reason(request, node, free, -(10**15), self._policy) is None:
            job_class.short_of_disk.add(name)
        return None

    # --- answers ----------------------------------------------------------------------------------------------

    def best_offer(self, job_class: JobClass, last_choice: bool) -> tuple[Rank, str] | None:
        """Return the best node of a class, as the node is now. Nodes that the class avoids count only if `last_choice`.

        The offer stays in place, so the caller has to call `update_offer` after it has used the node.
        """
        while (offer := job_class.offers.best()) is not None:
            rank, name = offer
            if rank[0] and not last_choice:
                self._only_avoided[job_class.number] = job_class
                return None
            now = self._ask(job_class, name)
            if now is None or now > rank:
                self._set_offer(job_class, name, now)
                continue
            return rank, name
        self._only_avoided.pop(job_class.number, None)
        return None

    def with_avoided_offers_only(self) -> list[JobClass]:
        """Return the classes whose only offers are from nodes that they avoid."""
        return list(self._only_avoided.values())

    def reasons(self, request: Request, avoid: frozenset[str]) -> dict[str, NodeReason]:
        """Return, by node, why the node does not take such a job now."""
        reasons = {}
        for name, node in self._nodes.items():
            reason = permanent_reason(request, node, self._policy)
            if reason is None:
                free, promised = self._cache.free(name), self._cache.promised_disk_mb
                reason = temporary_reason(request, node, free, promised, self._policy)
            if reason is None and name in avoid:
                reason = SHUNNED
            if reason is not None:
                reasons[name] = reason
        return reasons
