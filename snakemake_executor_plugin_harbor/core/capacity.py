"""The number of jobs that Snakemake may hand over. Jobs that can run on the same nodes form one class.

Snakemake counts each job that it has handed over as running, so harbor keeps its queue short. Each class may hold twice
the slots of its nodes. The limit applies per class, because jobs that have to wait would otherwise keep other jobs from
idle slots.
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
    """A copy of the nodes of a pool at one moment. Any thread may read it."""

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
        """Return the nodes that could ever hold such a job.

        Two requests whose sizes lie between those of the same two nodes get the same answer, so they share a key.
        """
        sizes = (
            bisect_left(self._cores, request.cores),
            bisect_left(self._gpus, request.gpus),
            bisect_left(self._memory, request.mem_mb) if request.mem_mb else -1,
        )
        key = (request.node, request.constraint, request.needs, bool(request.unstaged), bool(request.snakemake), sizes)
        found = self._classes.get(key)
        if found is None:
            possible = (node.spec.name for node in self._nodes if permanent_reason(request, node, self._policy) is None)
            found = self._classes[key] = frozenset(possible)
        return found

    def refusal(self, request: Request) -> Refusal | None:
        """Return the refusal of a job that no node can ever hold. None means that some node can."""
        return permanent_refusal(request, {node.spec.name: node for node in self._nodes}, self._policy)

    def slots(self, names: frozenset[str]) -> int:
        """Return the number of slots that these nodes have for jobs now."""
        found = self._slots.get(names)
        if found is None:
            found = self._slots[names] = total_slots(
                node
                for node in self._nodes
                if node.spec.name in names and node.state == NodeState.READY and not node.closed
            )
        return found

    def equals(self, other: "Capacity") -> bool:
        """Return whether both have the same capacity for every class."""
        return self._compared() == other._compared()

    def _compared(self) -> list[object]:
        return [
            (n.spec, n.facts, n.missing, n.closed, n.state == NodeState.READY, n.state == NodeState.REJECTED)
            for n in self._nodes
        ]


class HandOverLimits:
    """The jobs that Snakemake may hand over in one round of its scheduler.

    `handed_over` holds the cores of the jobs that it has handed over already, by request.
    """

    def __init__(self, capacity: Capacity, handed_over: Mapping[Request, int]) -> None:
        self._capacity = capacity
        self._used: dict[frozenset[str], int] = {}
        for request, cores in handed_over.items():
            names = capacity.class_of(request)
            self._used[names] = self._used.get(names, 0) + cores

    def cores_left(self, request: Request) -> int:
        """Return the cores that are left for jobs of this class. Each class may hold at least one job. So harbor can
        tell the user why the job waits, and can fail a job that no node can ever hold.
        """
        names = self._capacity.class_of(request)
        return max(1, 2 * self._capacity.slots(names)) - self._used.get(names, 0)

    def add(self, request: Request) -> None:
        """Count a job that is handed over."""
        names = self._capacity.class_of(request)
        self._used[names] = self._used.get(names, 0) + request.cores
