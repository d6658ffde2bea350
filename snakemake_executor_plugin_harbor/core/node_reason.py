"""The reasons why nodes do not take a job, and their summary for users."""

from collections.abc import Mapping
from typing import NamedTuple


class NodeReason(NamedTuple):
    """The reason why a node does not take a job. The sentence is formatted only when somebody reads it.

    `busy` means that the job waits for other jobs of ours to end, as in any full pool. `permanent` means that the node
    can never hold the job.
    """

    text: str
    values: tuple[object, ...] = ()
    busy: bool = False
    permanent: bool = False

    def __str__(self) -> str:
        return self.text.format(*self.values)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @property
    def kind(self) -> tuple[str, ...]:
        """Return what is the same for two reasons that differ only in numbers, because these change every second."""
        if self.busy:
            return ("busy",)
        return (self.text, *(value for value in self.values if isinstance(value, str)))


def list_reasons(reasons_by_node: Mapping[str, NodeReason], most: int) -> list[str]:
    """Return a sentence per node with its reason. If there are more than `most` nodes, those with the same kind of
    reason share a sentence.
    """
    ordered = sorted(reasons_by_node.items())
    if len(ordered) <= most:
        return [f"{_label(name)} {reason}" for name, reason in ordered]
    alike: dict[tuple[str, ...], list[tuple[str, NodeReason]]] = {}
    for name, reason in ordered:
        alike.setdefault(reason.kind, []).append((name, reason))
    lines = []
    for same in sorted(alike.values(), key=lambda same: same[0][1].permanent)[:most]:
        name, reason = same[0]
        others = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        lines.append(f"{_label(name)}{others} {reason}")
    if len(alike) > most:
        lines.append(f"{len(alike) - most} more reasons")
    return lines


def _label(name: str) -> str:
    return name if name == "every node" else f"node {name}"
