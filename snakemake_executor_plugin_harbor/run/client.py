"""Whom the dispatcher works for: the protocols that the session implements."""

from collections.abc import Iterable
from typing import Protocol

from ..core import actions as act
from ..core import events as ev
from ..core.model import JobId, NodeFacts, NodeSpec, Outcome
from ..core.protocol import Message
from .wait_recorder import WaitingJobs


class Preparer(Protocol):
    """Who makes start messages: the session."""

    def prepare(self, launch: act.Prepare) -> Message | ev.PrepareFailed:
        """The `start` message of an attempt, or why there is none. Several threads call it, for different jobs."""

    def rule_of(self, job: JobId) -> str:
        """The rule of a job: if one of its jobs is slow to prepare, the others probably are, too."""

    def report_slow(self, launch: act.Prepare, seconds: float) -> None:
        """Tell the user that an attempt has been in preparation for this long."""

    def more_jobs_expected(self) -> bool:
        """Whether Snakemake's own thread is at work and will come by with `PrepareThreads.drain`."""


class Reporter(Protocol):
    """Who hears of ends: the session."""

    def report(self, outcome: Outcome) -> bool:
        """Tell Snakemake. False: not yet (an output is not visible), ask again."""

    def batch_reported(self) -> None:
        """A batch of reports is over."""


class Client(Preparer, Reporter, Protocol):
    """Whom the dispatcher works for: the session. These calls come from the dispatcher's thread."""

    def why_unusable(self, node: str, facts: NodeFacts) -> str | None:
        """Why a node that answered cannot be used; None if it can."""

    def adoptable_jobs(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """Those of the jobs that an earlier run started, and that a node knows by now."""

    def changed_host_list(self) -> tuple[NodeSpec, ...] | None:
        """The host list, if it has changed."""

    def capacity_grown(self) -> None:
        """The pool has other nodes than it had, or nodes that were away are back."""

    def notify(self, change: act.NodeChanged | act.JobStalled) -> None:
        """What the user should hear of."""

    def jobs_wait(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Jobs that wait, and why."""

    def warn(self, text: str) -> None:
        """Trouble that the user should know of."""

    def internal_error(self, error: BaseException) -> None:
        """A thread of the dispatcher failed: nothing will ever be reported again."""
