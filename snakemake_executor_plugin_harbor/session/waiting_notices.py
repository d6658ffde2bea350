"""Lines for Snakemake's log that say which jobs wait, and why."""

from collections.abc import Iterable
from typing import Any

from ..core.placement import NodeReason, list_reasons
from ..run.wait_recorder import WaitingJobs

LONG_S = 30.0
"""A job that could not be placed for this long is told of."""
PAUSE_S = 60.0
"""Lines come at most this often."""
FORGET_S = 600.0
"""Reasons that were told are not told again before they have been away for this long."""


class WaitingNotices:
    """Each reason is told once, not each change of a number in it. Used on the dispatcher's thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._told: dict[frozenset[tuple[str, ...]], float] = {}
        self._last = -PAUSE_S

    def tell(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Write a line for each reason that was not told yet."""
        found: dict[frozenset[tuple[str, ...]], list[WaitingJobs]] = {}
        for group in groups:
            jobs = [job for job in group.jobs if now - job.since >= LONG_S]
            if jobs:
                key = frozenset(why.kind for why in group.whys.values())
                found.setdefault(key, []).append(WaitingJobs(jobs, group.whys))
        new = [key for key in found if key not in self._told]
        if new and now - self._last >= PAUSE_S:
            self._last = now
            for key in new:
                self._told[key] = now
                self._line(found[key])
        for key, at in list(self._told.items()):
            if key in found:
                self._told[key] = now
            elif now - at >= FORGET_S and key != BUSY:
                del self._told[key]

    def _line(self, groups: list[WaitingJobs]) -> None:
        jobs = [job for group in groups for job in group.jobs]
        whys = groups[0].whys
        rules = sorted({job.spec.rule for job in jobs if job.spec.rule})
        names = f"{', '.join(rules[:3])}{', ...' if len(rules) > 3 else ''}"
        who = "1 job waits" if len(jobs) == 1 else f"{len(jobs)} jobs wait"
        number = jobs[0].spec.id.rpartition("/")[2]
        text = f"harbor: {who}: {'; '.join(list_reasons(whys, most=4))}   # {names}: harbor explain {number}"
        if all(why.busy or why.permanent for why in whys.values()):
            self._logger.info(text)
        else:
            self._logger.warning(text)


BUSY = frozenset({NodeReason("", (), busy=True).kind})
