"""Lines in Snakemake's log about nodes that come and go, jobs that seem to hang, and jobs that wait."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..core import actions as act
from ..core.model import NodeState, without_name
from ..jobs.in_flight import InFlight
from ..run.snapshot import NodeSnapshot
from ..run.wait_recorder import WaitingJobs
from .waiting_notices import WaitingNotices

SHOWN_NAMES = 10
UNUSED_STATES = frozenset({NodeState.REJECTED, NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.UNUSABLE})


class Notices:
    """Implements the dispatcher's `Notices`. Each line is written once. Any thread may call `warn`."""

    def __init__(self, logger: Any, in_flight: InFlight, nodes: Callable[[], Mapping[str, NodeSnapshot]]) -> None:
        """`nodes` returns the nodes as they are now, by name."""
        self._logger = logger
        self._in_flight = in_flight
        self._nodes = nodes
        self._waiting = WaitingNotices(logger)
        self._reasons: dict[str, str] = {}
        self._present: set[str] = set()
        self._wrong_memory: dict[str, int] = {}
        self._same_machine: set[str] = set()
        self._started = False

    def run_started(self) -> None:
        """The nodes that were ready at the start have been listed. A node that is ready from now on has joined."""
        self._started = True
        self._check_machines()

    def warn(self, text: str) -> None:
        """Report trouble that the run survives."""
        self._logger.warning(f"harbor: {text}")

    def notify(self, change: act.NodeChanged | act.JobStalled) -> None:
        """Report a node that comes or goes, or a job that seems to hang."""
        match change:
            case act.JobStalled():
                self._job_stalled(change)
            case act.NodeChanged(node, state, why) if state in UNUSED_STATES:
                if self._reasons.get(node) != why:
                    self._reasons[node] = why
                    self.warn(f"node {node} is not used ({state.value}): {without_name(node, why)}")
            case act.NodeChanged(node, NodeState.READY):
                if self._reasons.pop(node, ""):
                    self._logger.info(f"harbor: node {node} is back")
                elif self._started and node not in self._present:
                    self._logger.info(f"harbor: node {node} has joined")
                self._present.add(node)
                if self._started:
                    self._check_machines()
            case act.NodeChanged(node, NodeState.REMOVED):
                self._present.discard(node)
                self._logger.info(f"harbor: node {node} has left the pool")
        if isinstance(change, act.NodeChanged) and (view := self._nodes().get(change.node)) is not None:
            self._check_memory(view)

    def report_waiting(self, groups: Iterable[WaitingJobs], now: float) -> None:
        """Report jobs that wait, and why."""
        self._waiting.report(groups, now)
        for node in self._nodes().values():  # an edit of the host list changes no state
            self._check_memory(node)

    def _check_memory(self, node: NodeSnapshot) -> None:
        """Warn if the host file gives a node more memory than it has."""
        given, real = node.spec.mem_mb, node.facts.mem_mb if node.facts else 0
        if given is None or not 0 < real < given or self._wrong_memory.get(node.spec.name) == given:
            return
        self._wrong_memory[node.spec.name] = given
        self.warn(
            f"the host file gives node {node.spec.name} {given} MiB of memory, but it has only {real} MiB, "
            "which harbor uses instead"
        )

    def _check_machines(self) -> None:
        """Warn if entries of the host list are one machine, which the user may have named twice by mistake."""
        names: dict[str, list[str]] = {}
        for name, node in self._nodes().items():
            # Containers with a CPU quota have the boot id of their host, but cores of their own.
            if node.facts and node.facts.boot_id and not node.facts.quota:
                names.setdefault(node.facts.boot_id, []).append(name)
        for same in names.values():
            if len(same) > 1 and not self._same_machine.issuperset(same):
                self._same_machine.update(same)
                shown = ", ".join(same[:SHOWN_NAMES]) + ", ..." * (len(same) > SHOWN_NAMES)
                self.warn(
                    f"{shown} are one machine under {len(same)} names. Its cores count once, and its memory, too. "
                    "If you did not mean this, name it once in the host list"
                )

    def _job_stalled(self, stalled: act.JobStalled) -> None:
        entry = self._in_flight.get(stalled.job)
        if entry is None:
            return
        if stalled.last:
            consequence = "It is killed and fails, because it was lost too often"
        elif stalled.killed:
            consequence = "It is killed and retried"
        else:
            consequence = "It may be stuck. With --harbor-on-stall kill, harbor kills and retries such jobs"
        self.warn(
            f"job {entry.number} ({entry.name}) on {stalled.node}: no output and no progress for "
            f"{stalled.seconds:.0f} s. {consequence}"
        )
