"""The records of attempts: those that nodes listed after hello, and exit notices from the shared directory."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core import events as ev
from ..core.model import JobId

Attempt = tuple[JobId, int]


class NodeRecords:
    """The dispatcher's thread writes, and any thread reads. `version` changes with every change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nodes: dict[str, dict[Attempt, ev.NodeRecord]] = {}
        self._notices: dict[Attempt, tuple[str, ev.NodeRecord]] = {}
        self._progress: dict[tuple[str, JobId, int], tuple[float, float]] = {}
        self.version = 0

    def node_listed(self, node: str, records: Iterable[ev.NodeRecord]) -> None:
        """Note all records of a node. Its exit notices stay, because the node does not list these attempts."""
        with self._lock:
            self._nodes[node] = {(record.job, record.attempt): record for record in records}
            self._forget_progress(node)
            self.version += 1

    def add_exit_notice(self, node: str, record: ev.NodeRecord) -> None:
        """Note the exit notice that a node has left."""
        with self._lock:
            self._notices[(record.job, record.attempt)] = (node, record)
            self.version += 1

    def remove_node(self, node: str) -> None:
        """Delete the records of a node that has left the pool."""
        with self._lock:
            if self._nodes.pop(node, None) is not None:
                self._forget_progress(node)
                self.version += 1

    def attempt_ended(self, node: str, job: JobId, attempt: int, exit: Mapping[str, Any]) -> None:
        """Note that a listed attempt has ended."""
        with self._lock:
            records = self._nodes.get(node, {})
            if (job, attempt) in records:
                records[(job, attempt)] = replace(records[(job, attempt)], running=False, exit=exit)
                self.version += 1

    def attempt_progressed(self, node: str, job: JobId, attempt: int, done: float, total: float) -> bool:
        """Note the progress of an attempt if the node has listed it, and return whether it has. The node reports the
        progress once, which may be before the job is adopted.
        """
        with self._lock:
            listed = (job, attempt) in self._nodes.get(node, {})
            if listed:
                self._progress[(node, job, attempt)] = (done, total)
            return listed

    def progress_of(self, node: str, job: JobId, attempt: int) -> tuple[float, float] | None:
        """Return what the node has reported last about a listed attempt, as done and total."""
        with self._lock:
            return self._progress.get((node, job, attempt))

    def exit_of(self, node: str, job: JobId, attempt: int) -> Mapping[str, Any] | None:
        """Return the `exited` message of an attempt, or None if it runs or that node has no record of it."""
        with self._lock:
            record = self._nodes.get(node, {}).get((job, attempt))
            if record is None:
                author, record = self._notices.get((job, attempt), ("", None))
                record = record if author == node else None
            return record.exit if record is not None else None

    def _forget_progress(self, node: str) -> None:
        self._progress = {key: value for key, value in self._progress.items() if key[0] != node}

    def nodes_that_list(self, job: JobId, attempt: int) -> list[str]:
        """Return the nodes that have listed the attempt."""
        with self._lock:
            return [node for node, records in self._nodes.items() if (job, attempt) in records]

    def all(self) -> list[tuple[str, ev.NodeRecord]]:
        """Return every record with its node. A notice is left out if a node has listed a record of the same attempt."""
        with self._lock:
            listed = [(node, record) for node, records in self._nodes.items() for record in records.values()]
            attempts = {(record.job, record.attempt) for _, record in listed}
            return listed + [notice for attempt, notice in self._notices.items() if attempt not in attempts]
