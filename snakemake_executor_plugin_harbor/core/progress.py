"""The progress of a job, the time that it still needs, and the usual run time of each rule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The job has reported that `done` of `total` steps are done."""

    done: float
    total: float

    @property
    def fraction(self) -> float:
        if self.total <= 0:
            return 0.0
        return min(1.0, max(0.0, self.done / self.total))

    def eta(self, elapsed: float) -> float | None:
        """Return the seconds that are left at the pace so far, or None before the first step."""
        if self.fraction <= 0:
            return None
        return elapsed * (1 - self.fraction) / self.fraction


def progress_of(value: object) -> Progress | None:
    """Return the progress that a `[done, total]` pair of a message states, or None for anything else."""
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
    """The mean run time of each rule, so that the longest jobs start first. Recent jobs count more (an exponential
    average).
    """

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}

    def add(self, rule: str, seconds: float) -> None:
        """A job of the rule has run for this time."""
        old = self._mean.get(rule)
        self._mean[rule] = seconds if old is None else 0.8 * old + 0.2 * seconds

    def expected(self, rule: str) -> float:
        """Return the expected seconds of a job, or 0 if no job of the rule has ended yet."""
        return self._mean.get(rule, 0.0)
