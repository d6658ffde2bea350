"""How many jobs of each class are worth handing over: jobs that can go to the same nodes are one class.

Whatever Snakemake has handed over counts as running there, so the queue here is kept short: twice the slots that can
hold a job. That holds for each class by itself, since jobs that must wait would otherwise keep others from idle slots.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import replace

from .feasibility import Refusal, permanent_reason, permanent_refusal
from .machine import total_slots
from .model import NodeState, Request
from .node import NodeView, Reservations
from .policy import Policy


class Capacity:
    """The nodes of a pool at one moment. It is a copy: any thread may read it."""

    def __init__(self, nodes: Iterable[NodeView] = (), policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._nodes = [
            replace(node, reservations=Reservations(), missing=set(node.missing), load=None) for node in nodes
        ]
        self._cores = sorted({node.slots for node in self._nodes})
        self._gpus = sorted({len(node.gpus) for node in self._nodes})
        least = self._policy.min_free_mem_mb
        real = {node.facts.mem_mb - least for node in self._nodes if node.facts}
        self._memory = sorted(real | {node.mem_mb for node in self._nodes})
        self._classes: dict[object, frozenset[str]] = {}
        self._slots: dict[frozenset[str], int] = {}

    def class_of(self, request: Request) -> frozenset[str]:
        """The nodes that could ever hold such a job. Sizes between those of two nodes make no difference."""
        sizes = (
            bisect_left(self._cores, request.cores),
            bisect_left(self._gpus, request.gpus),
            bisect_left(self._memory, request.mem_mb) if request.mem_mb else -1,
        )
        key = (request.node, request.constraint, request.needs, sizes)
        found = self._classes.get(key)
        if found is None:
            possible = (node.spec.name for node in self._nodes if permanent_reason(request, node, self._policy) is None)
            found = self._classes[key] = frozenset(possible)
        return found

    def refusal(self, request: Request) -> Refusal | None:
        """The reasons why no node can ever hold such a job, or None if one can."""
        return permanent_refusal(request, {node.spec.name: node for node in self._nodes}, self._policy)

    def slots(self, names: frozenset[str]) -> int:
        """The slots that these nodes have for jobs now."""
        found = self._slots.get(names)
        if found is None:
            found = self._slots[names] = total_slots(
                node
                for node in self._nodes
                if node.spec.name in names and node.state == NodeState.READY and not node.closed
            )
        return found

    def same(self, other: "Capacity") -> bool:
        """Whether both have the same room for every class."""
        return self._shown() == other._shown()

    def _shown(self) -> list[object]:
        return [
            (n.spec, n.facts, n.missing, n.closed, n.state == NodeState.READY, n.state == NodeState.REJECTED)
            for n in self._nodes
        ]


class HandOverLimits:
    """What may be handed over in one round. `handed` are the cores of each request that are here already."""

    def __init__(self, capacity: Capacity, handed: Mapping[Request, int]) -> None:
        self._capacity = capacity
        self._used: dict[frozenset[str], int] = {}
        for request, cores in handed.items():
            names = capacity.class_of(request)
            self._used[names] = self._used.get(names, 0) + cores

    def left(self, request: Request) -> int:
        """Cores' worth of jobs of this class. Never less than one job: it is here that the user hears why it waits, and
        that a job which no node can ever hold fails.
        """
        names = self._capacity.class_of(request)
        return max(1, 2 * self._capacity.slots(names)) - self._used.get(names, 0)

    def take(self, request: Request) -> None:
        """A job is handed over."""
        names = self._capacity.class_of(request)
        self._used[names] = self._used.get(names, 0) + request.cores
