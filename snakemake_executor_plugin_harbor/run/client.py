"""The interfaces of the objects that the dispatcher and its threads call. The objects lie in higher layers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..core import actions as act
from ..core import events as ev
from ..core.codec import Message
from ..core.model import JobId, NodeFacts, NodeSpec, Outcome
from ..remote.transport import Transport
from .wait_recorder import WaitingJobs


class Preparer(Protocol):
    """Makes start messages. Several threads call it at the same time, for different jobs."""

    def prepare(self, task: act.Prepare) -> Message | ev.PrepareFailed:
        """Prepare an attempt. Returns its `start` message, or the reason why there is none."""

    def rule_of(self, job: JobId) -> str:
        """Return the rule of a job. If one job of a rule is slow to prepare, the others probably are, too."""

    def report_slow(self, task: act.Prepare, seconds: float) -> None:
        """Report to the user that an attempt has been in preparation for this long."""

    def more_jobs_expected(self) -> bool:
        """Return whether Snakemake's thread is about to hand over more jobs and to call `PrepareThreads.drain`."""


class Reporter(Protocol):
    """Reports ends of jobs to Snakemake. The report thread calls it."""

    def report(self, outcome: Outcome) -> bool:
        """Report an end. Returns False if an output is not visible yet, so that the call has to be repeated."""

    def batch_reported(self) -> None:
        """Have Snakemake take in the reports, because a batch of them is complete."""


class NodeAccess(Protocol):
    """Knows which nodes the pool has, how to reach them, and which of them can be used.

    A connection's threads call `transport` and `welcome`. The dispatcher's thread calls the others.
    """

    def transport(self, node: NodeSpec) -> Transport:
        """Make a transport to the node. It is not connected yet."""

    def welcome(self, node: NodeSpec) -> Message:
        """Make the first message that the node gets."""

    def is_staged(self, node: NodeSpec, facts: NodeFacts) -> bool:
        """Return whether the files of jobs are sent to a node that answered, and fetched."""

    def why_unusable(self, node: NodeSpec, facts: NodeFacts) -> str | None:
        """Return the reason why a node that answered cannot be used, or None if it can."""

    def changed_host_list(self) -> tuple[NodeSpec, ...] | None:
        """Return the host list if it has changed since the last call, or else None."""


class JobSource(Protocol):
    """Knows the jobs that Snakemake has handed over. The dispatcher's thread calls it."""

    def adopt_waiting(self, jobs: Iterable[JobId]) -> list[ev.Adopted]:
        """Adopt those of the waiting jobs that an earlier run started and that a node has listed by now."""

    def capacity_grown(self) -> None:
        """Have Snakemake hand over more jobs, because the pool has other nodes than before."""


class Notices(Protocol):
    """Writes messages for the user. The dispatcher's thread calls it."""

    def notify(self, change: act.NodeChanged | act.JobStalled) -> None:
        """Report a node that comes or goes, or a job that seems to hang."""

    def report_waiting(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Report jobs that wait, and why."""

    def warn(self, text: str) -> None:
        """Report trouble that the run survives."""


@dataclass(frozen=True)
class Client:
    """All objects that the dispatcher and its threads call.

    `internal_error` is called when a thread of the dispatcher has failed. After that no job is ever reported again.
    `transfers` returns, by node, the transfers of files that are under way, as the journal records them.
    """

    nodes: NodeAccess
    jobs: JobSource
    start_messages: Preparer
    end_reports: Reporter
    notices: Notices
    internal_error: Callable[[BaseException], None]
    transfers: Callable[[], Mapping[str, list[dict[str, Any]]]] = dict
