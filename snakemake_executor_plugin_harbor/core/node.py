"""A node as placement sees it, with its last load sample and the reservations of our jobs."""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from .model import Load, NodeFacts, NodeSpec, NodeState, Request, Reservation, without_name


class Reservations(MutableMapping[str, tuple[Request, Reservation]]):
    """The requests and reservations of the attempts on one node, by attempt key. The sums are updated with each change,
    so reading them is cheap.
    """

    def __init__(self) -> None:
        self._held: dict[str, tuple[Request, Reservation]] = {}
        self._slots: dict[int, int] = {}
        self._gpus: dict[int, int] = {}
        self._tasks: dict[int, int] = {}
        self.cores = 0
        self.mem_mb = 0
        self.disk_mb = 0

    def __getitem__(self, key: str) -> tuple[Request, Reservation]:
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __setitem__(self, key: str, value: tuple[Request, Reservation]) -> None:
        if key in self._held:
            del self[key]
        self._held[key] = value
        self._count(*value, 1)

    def __delitem__(self, key: str) -> None:
        self._count(*self._held.pop(key), -1)

    def _count(self, request: Request, reservation: Reservation, change: int) -> None:
        self.cores += change * request.cores
        self.mem_mb += change * request.mem_mb
        self.disk_mb += change * request.disk_mb
        task = (reservation.task,)
        for used, numbers in ((self._slots, reservation.slots), (self._gpus, reservation.gpus), (self._tasks, task)):
            for number in numbers:
                # A number may have two holders, because an adopted attempt may name a slot that another job has got.
                used[number] = used.get(number, 0) + change
                if not used[number]:
                    del used[number]

    @property
    def slots(self) -> Mapping[int, int]:
        """The slots in use, each with the number of its holders."""
        return self._slots

    @property
    def gpus(self) -> Mapping[int, int]:
        """The GPUs in use, each with the number of its holders."""
        return self._gpus

    @property
    def tasks(self) -> Mapping[int, int]:
        """The numbers of the jobs, each with the number of its holders."""
        return self._tasks


@dataclass
class NodeView:
    """One node as placement sees it.

    `why` is the reason of its state. `idle_since` is the time at which our last job there ended, or at which the node
    joined. `missing` are paths that jobs need and that the node never had. `had` are paths that jobs have found there.
    `drain` is the user's reason for which the node gets no more jobs. A `forgotten` node is dead, as the user says,
    until it connects again. A `distrusted` node has not answered a start. A node that is `leaving` the pool may have a
    `successor` of the same name, which is the same entry of the host list after an edit. `mem_base_mb` is the memory
    that would be available without our jobs, as far as the samples show it.
    """

    spec: NodeSpec
    state: NodeState = NodeState.OFFLINE
    facts: NodeFacts | None = None
    load: Load | None = None
    reservations: Reservations = field(default_factory=Reservations)
    idle_since: float = 0.0
    missing: set[str] = field(default_factory=set)
    had: set[str] = field(default_factory=set)
    drain: str = ""
    forgotten: bool = False
    distrusted: bool = False
    leaving: bool = False
    successor: NodeSpec | None = None
    why: str = ""
    mem_base_mb: int | None = None

    @property
    def closed(self) -> bool:
        """Return whether the node gets no more jobs because the user wants so. It is drained or `leaving` the pool."""
        return bool(self.drain) or self.leaving

    @property
    def staged(self) -> bool:
        """Return whether the files of jobs are sent to the node and fetched."""
        return self.facts is not None and self.facts.staged

    @property
    def why_alone(self) -> str:
        """The reason of its state without its name, for sentences that begin with the name."""
        return without_name(self.spec.name, self.why)

    @property
    def slots(self) -> int:
        if self.spec.slots is not None:
            return self.spec.slots
        return self.facts.cores if self.facts else 0

    @property
    def mem_mb(self) -> int:
        """The memory for jobs. The host file may give less than the machine has, never more."""
        real = self.facts.mem_mb if self.facts else 0
        if self.spec.mem_mb is not None:
            return min(self.spec.mem_mb, real) if real else self.spec.mem_mb
        return real

    @property
    def gpus(self) -> tuple[int, ...]:
        if self.spec.gpus is not None:
            return tuple(range(self.spec.gpus))
        return self.facts.gpus if self.facts else ()

    def measure(self, load: Load) -> None:
        """Store a load sample.

        A job may use all the memory that it asked for, and a sample does not show how much of it is in use already. So
        the memory that would be available without our jobs lies between two bounds. The lower one is the memory that is
        available now. The upper one adds all memory that our jobs asked for. Within these bounds the earlier value is
        kept, because it was exact when the node was idle.
        """
        self.load = load
        available = load.mem_available_mb
        if available is None:
            self.mem_base_mb = None
            return
        most = available + self.reservations.mem_mb
        self.mem_base_mb = most if self.mem_base_mb is None else min(max(self.mem_base_mb, available), most)

    def hold(self, key: str, request: Request, reservation: Reservation) -> None:
        """Store the reservation of an attempt."""
        self.reservations[key] = (request, reservation)

    def release(self, key: str, now: float) -> None:
        """Delete the reservation of an attempt, if it has one."""
        if self.reservations.pop(key, None) is not None and not self.reservations:
            self.idle_since = now
