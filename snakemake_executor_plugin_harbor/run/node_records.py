"""The records of attempts: what nodes listed after hello, and the notices of ends that they left in the directory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core import events as ev
from ..core.model import JobId


class NodeRecords:
    """Written by the dispatcher's thread, read by any. `version` changes with every change."""

    def __init__(self) -> None:
        self._nodes: dict[str, dict[tuple[JobId, int], ev.NodeRecord]] = {}
        self._notices: dict[tuple[JobId, int], tuple[str, ev.NodeRecord]] = {}
        self.version = 0

    def node_listed(self, node: str, records: Iterable[ev.NodeRecord]) -> None:
        """A node said hello: this is all that it knows. Its notices of ends stay: it does not list these attempts."""
        self._nodes[node] = {(record.job, record.attempt): record for record in records}
        self.version += 1

    def add_exit_notice(self, node: str, record: ev.NodeRecord) -> None:
        """A node left a notice of how an attempt has ended."""
        self._notices[(record.job, record.attempt)] = (node, record)
        self.version += 1

    def remove_node(self, node: str) -> None:
        """A node has left the pool."""
        if self._nodes.pop(node, None) is not None:
            self.version += 1

    def attempt_ended(self, node: str, job: JobId, attempt: int, exit: Mapping[str, Any]) -> None:
        """A listed attempt has ended."""
        records = self._nodes.get(node, {})
        if (job, attempt) in records:
            records[(job, attempt)] = replace(records[(job, attempt)], running=False, exit=exit)
            self.version += 1

    def exit_of(self, node: str, job: JobId, attempt: int) -> Mapping[str, Any] | None:
        """How a listed attempt ended; None if it runs, or is not listed."""
        record = self._nodes.get(node, {}).get((job, attempt))
        if record is None:
            left, record = self._notices.get((job, attempt), ("", None))
            record = record if left == node else None
        return record.exit if record is not None else None

    def nodes_that_list(self, job: JobId, attempt: int) -> list[str]:
        """The nodes that listed an attempt."""
        return [node for node, records in list(self._nodes.items()) if (job, attempt) in records]

    def all(self) -> list[tuple[str, ev.NodeRecord]]:
        """Every record with its node; of those with a notice, what a node lists comes first."""
        listed = [(node, record) for node, records in list(self._nodes.items()) for record in list(records.values())]
        known = {(record.job, record.attempt) for _, record in listed}
        return listed + [notice for key, notice in list(self._notices.items()) if key not in known]
