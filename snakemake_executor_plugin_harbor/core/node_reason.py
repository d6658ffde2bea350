"""Why a node does not take a job."""

from collections.abc import Mapping
from typing import NamedTuple


class NodeReason(NamedTuple):
    """Why a node does not take a job. The sentence is made when somebody wants to read it.

    `busy`: it waits for other jobs of ours to end, as in any full pool. `permanent`: the node can never hold it.
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
        """The same for two reasons that differ in numbers only, which change from one second to the next."""
        if self.busy:
            return ("busy",)
        return (self.text, *(value for value in self.values if isinstance(value, str)))


def list_reasons(reasons_by_node: Mapping[str, NodeReason], most: int) -> list[str]:
    """Each node and its reason, in words. Of more than `most` nodes, those with the same reason are named together."""
    ordered = sorted(reasons_by_node.items())
    if len(ordered) <= most:
        return [f"{_named(name)} {why}" for name, why in ordered]
    alike: dict[tuple[str, ...], list[tuple[str, NodeReason]]] = {}
    for name, why in ordered:
        alike.setdefault(why.kind, []).append((name, why))
    lines = []
    for same in sorted(alike.values(), key=lambda same: same[0][1].permanent)[:most]:
        name, why = same[0]
        others = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        lines.append(f"{_named(name)}{others} {why}")
    if len(alike) > most:
        lines.append(f"{len(alike) - most} more reasons")
    return lines


def _named(name: str) -> str:
    return name if name == "every node" else f"node {name}"
