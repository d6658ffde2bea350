"""How far a job is, and when it will be done."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """`done` of `total` steps, as the job itself says."""

    done: float
    total: float

    @property
    def fraction(self) -> float:
        if self.total <= 0:
            return 0.0
        return min(1.0, max(0.0, self.done / self.total))

    def eta(self, elapsed: float) -> float | None:
        """Seconds left at the pace so far; None before the first step."""
        if self.fraction <= 0:
            return None
        return elapsed * (1 - self.fraction) / self.fraction


def progress_of(value: object) -> Progress | None:
    """A `[done, total]` pair from the wire; None for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return None
    done, total = value
    if isinstance(done, bool) or isinstance(total, bool):
        return None
    if not isinstance(done, (int, float)) or not isinstance(total, (int, float)):
        return None
    if not (done == done and total == total and abs(done) < 1e15 and 0 < total < 1e15):
        return None
    return Progress(done, total)


class RuleDurations:
    """Mean run time of each rule, to start the longest first. Exponential average: recent jobs count more."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}

    def learn(self, rule: str, seconds: float) -> None:
        old = self._mean.get(rule)
        self._mean[rule] = seconds if old is None else 0.8 * old + 0.2 * seconds

    def expected(self, rule: str) -> float:
        """Seconds; 0 for a rule of which no job has ended yet."""
        return self._mean.get(rule, 0.0)
