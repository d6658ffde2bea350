"""What users are told of nodes that come and go, and of jobs that seem to hang."""

from typing import Any

from ..core import actions as act
from ..core.model import NodeState
from ..core.node import NodeView
from ..jobs.in_flight import InFlight

UNUSED = frozenset({NodeState.REJECTED, NodeState.BACKOFF, NodeState.QUARANTINED, NodeState.UNUSABLE})


class Notices:
    """Lines for Snakemake's log, each once. Used on the dispatcher's thread."""

    def __init__(self, logger: Any, entries: InFlight) -> None:
        self._logger = logger
        self._entries = entries
        self._warned: dict[str, str] = {}
        self._present: set[str] = set()
        self._given: dict[str, int] = {}
        self.begun = False
        """Whether the nodes of the beginning were named: those that come from now on have joined."""

    def tell(self, change: act.NodeChanged | act.JobStalled) -> None:
        match change:
            case act.JobStalled():
                self._stalled(change)
            case act.NodeChanged(node, state, why) if state in UNUSED:
                if self._warned.get(node) != why:
                    self._warned[node] = why
                    self._logger.warning(f"harbor: node {node} is not used ({state.value}): {why}")
            case act.NodeChanged(node, NodeState.READY):
                if self._warned.pop(node, ""):
                    self._logger.info(f"harbor: node {node} is back")
                elif self.begun and node not in self._present:
                    self._logger.info(f"harbor: node {node} has joined")
                self._present.add(node)
            case act.NodeChanged(node, NodeState.REMOVED):
                self._present.discard(node)
                self._logger.info(f"harbor: node {node} has left the pool")

    def check_memory(self, node: NodeView) -> None:
        """A host file that gives a node more memory than it has: said once."""
        given, real = node.spec.mem_mb, node.facts.mem_mb if node.facts else 0
        if given is None or not 0 < real < given or self._given.get(node.spec.name) == given:
            return
        self._given[node.spec.name] = given
        self._logger.warning(
            f"harbor: the host file gives {node.spec.name} {given} MiB of memory, but it has {real}, which count"
        )

    def _stalled(self, change: act.JobStalled) -> None:
        entry = self._entries.get(change.job)
        if entry is not None:
            ended, asked = "it is ended and tried again", "is it stuck? (--harbor-on-stall kill ends such)"
            job = f"job {entry.job.jobid} ({entry.job.name}) on {change.node}"
            what = f"no output and no progress for {change.seconds:.0f} s; {ended if change.killed else asked}"
            self._logger.warning(f"harbor: {job}: {what}")
