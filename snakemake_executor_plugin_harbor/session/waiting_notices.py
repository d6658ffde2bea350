"""Lines in Snakemake's log about jobs that wait for a node for a long time, with the reasons."""

from collections.abc import Iterable
from typing import Any

from ..core.node_reason import NodeReason, list_reasons
from ..run.wait_recorder import WaitingJobs

LONG_S = 30.0
"""Jobs that have waited for less time than this are not reported."""
PAUSE_S = 60.0
"""Lines are written at most this often."""
FORGET_S = 600.0
"""A reason is reported again if it has been absent for this long."""
BUSY = frozenset({NodeReason("", (), busy=True).kind})


class WaitingNotices:
    """Reports each reason once, not each change of a number in it. Used on the dispatcher's thread."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._reported: dict[frozenset[tuple[str, ...]], float] = {}
        self._last_report = -PAUSE_S

    def report(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Write one line for each reason that has not been reported yet."""
        found: dict[frozenset[tuple[str, ...]], list[WaitingJobs]] = {}
        for group in groups:
            jobs = [job for job in group.jobs if now - job.since >= LONG_S]
            if jobs:
                key = frozenset(why.kind for why in group.reasons.values())
                found.setdefault(key, []).append(WaitingJobs(jobs, group.reasons))
        new = [key for key in found if key not in self._reported]
        if new and now - self._last_report >= PAUSE_S:
            self._last_report = now
            for key in new:
                self._reported[key] = now
                self._write_line(found[key])
        for key, seen_at in list(self._reported.items()):
            if key in found:
                self._reported[key] = now
            elif now - seen_at >= FORGET_S and key != BUSY:
                del self._reported[key]

    def _write_line(self, groups: list[WaitingJobs]) -> None:
        jobs = [job for group in groups for job in group.jobs]
        reasons = groups[0].reasons
        rules = sorted({job.spec.rule for job in jobs if job.spec.rule})
        names = f"{', '.join(rules[:3])}{', ...' if len(rules) > 3 else ''}"
        count = "1 job waits" if len(jobs) == 1 else f"{len(jobs)} jobs wait"
        number = jobs[0].spec.id.rpartition("/")[2]
        text = f"harbor: {count}: {'; '.join(list_reasons(reasons, most=4))}   # {names}: harbor explain {number}"
        if all(reason.busy or reason.permanent for reason in reasons.values()):
            self._logger.info(text)
        else:
            self._logger.warning(text)
