"""One node as placement sees it: what it is, what it measured last, and what our jobs hold there."""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field

from .model import Load, NodeFacts, NodeSpec, NodeState, Request, Reservation


class Reservations(MutableMapping[str, tuple[Request, Reservation]]):
    """What the attempts on one node hold, by attempt key. The sums are kept up to date: reading them is cheap."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Request, Reservation]] = {}
        self._slots: dict[int, int] = {}
        self._gpus: dict[int, int] = {}
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

    def _count(self, request: Request, reservation: Reservation, sign: int) -> None:
        self.cores += sign * request.cores
        self.mem_mb += sign * request.mem_mb
        self.disk_mb += sign * request.disk_mb
        for used, numbers in ((self._slots, reservation.slots), (self._gpus, reservation.gpus)):
            for number in numbers:
                # Two holders of one number: an adopted attempt may name a slot that was given away meanwhile.
                used[number] = used.get(number, 0) + sign
                if not used[number]:
                    del used[number]

    @property
    def slots(self) -> Mapping[int, int]:
        """The slots in use, with the number of their holders."""
        return self._slots

    @property
    def gpus(self) -> Mapping[int, int]:
        """The GPUs in use, with the number of their holders."""
        return self._gpus


@dataclass
class NodeView:
    """One node as placement sees it: what it is, what it measured last, and what we hold there.

    `idle_since` is when the last of our jobs there ended (or when it joined). One that is `leaving` the pool may have a
    `successor` of its name: the same entry of the host list, edited. `mem_base_mb` is the memory that would be
    available there without our jobs, as far as the samples show it. A `distrusted` node has left a start unanswered.
    `had` are paths that jobs found there, `missing` those that it never had.
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
    distrusted: bool = False
    leaving: bool = False
    successor: NodeSpec | None = None
    why: str = ""
    mem_base_mb: int | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more is placed here, by the user's will: `drain` says why, or it is `leaving` the pool."""
        return bool(self.drain) or self.leaving

    @property
    def slots(self) -> int:
        if self.spec.slots is not None:
            return self.spec.slots
        return self.facts.cores if self.facts else 0

    @property
    def mem_mb(self) -> int:
        """The host file may give less than the machine has, never more."""
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
        """Take a sample in.

        A job may use all the memory that it asked for, and a sample does not say how much of it is in use already. So
        the memory that the node would have without our jobs is between what is available now and that plus all that
        they asked for; within these bounds the earlier value holds, which was exact when the node was idle.
        """
        self.load = load
        available = load.mem_available_mb
        if available is None:
            self.mem_base_mb = None
            return
        most = available + self.reservations.mem_mb
        self.mem_base_mb = most if self.mem_base_mb is None else min(max(self.mem_base_mb, available), most)

    def hold(self, key: str, request: Request, reservation: Reservation) -> None:
        """The attempt `key` takes its seat here."""
        self.reservations[key] = (request, reservation)

    def release(self, key: str, now: float) -> None:
        """The attempt `key` holds nothing here any more; nothing happens if it held nothing."""
        if self.reservations.pop(key, None) is not None and not self.reservations:
            self.idle_since = now

    def reserved(self) -> int:
        """Cores that our jobs here asked for."""
        return self.reservations.cores

    def used_slots(self) -> set[int]:
        return set(self.reservations.slots)

    def used_gpus(self) -> set[int]:
        return set(self.reservations.gpus)
