"""Finds the nodes that must answer before it is known whether an attempt of an earlier run still runs."""

from collections.abc import Mapping

from .model import AttemptLocation
from .node import NodeView


class NodeAnswers:
    """The nodes that have answered in this run, indexed for questions about many attempts. A node that is dead, as the
    user says, needs no answer.

    A node is recognised by its name in the host list or by its own host name, together with its boot id and its scratch
    directory.
    """

    def __init__(self, nodes: Mapping[str, NodeView]) -> None:
        self._nodes = nodes
        self.unanswered = {name for name, node in nodes.items() if node.facts is None and not node.forgotten}
        self._answered: set[tuple[str, str, str, str]] = set()
        for name, node in nodes.items():
            if (facts := node.facts) is not None and facts.boot_id:
                self._answered |= {(facts.boot_id, facts.scratch, *pair) for pair in _identities(name, facts.host)}

    def awaited(self, location: AttemptLocation | None) -> set[str] | None:
        """Return the nodes that may run the attempt that was started at this location. The set is empty if the attempt
        is over. The result is None if no node of the pool can tell.
        """
        if location is None:
            return self.unanswered
        identities = _identities(location.node, location.host)
        if any((location.boot_id, location.scratch, *pair) in self._answered for pair in identities):
            return set()
        node = self._nodes.get(location.node)
        if node is not None and node.forgotten:
            return set()
        facts = node.facts if node is not None else None
        if facts is not None and facts.host == location.host and facts.boot_id != location.boot_id != "":
            return set()  # The same machine was rebooted since.
        if location.fenced:
            return None
        if not location.node:
            return self.unanswered or None
        return {location.node} if location.node in self.unanswered else None


def _identities(node: str, host: str) -> list[tuple[str, str]]:
    return [("node", node), ("host", host)] if host else [("node", node)]
