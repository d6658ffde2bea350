"""The resource `rank`: jobs that run side by side as the tasks of one program, numbered as Slurm numbers them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import HarborError


@dataclass(frozen=True)
class Ranks:
    """The places of the ranks: `per_node` on each of the `nodes`, which are in the order of the host list.

    Without `per_node` (`--harbor-ntasks-per-node`), there are no ranks.
    """

    nodes: Sequence[str] = ()
    per_node: int | None = None

    def place(self, rule: str, rank: int) -> tuple[str, int]:
        """Return the node of a rank, and its number there. Raises HarborError if no node has this rank."""
        where = f"rule {rule}: resource rank={rank}"
        if self.per_node is None:
            raise HarborError(
                f"{where} needs to know how many ranks run on each node.",
                "--harbor-ntasks-per-node 2   # or harbor-ntasks-per-node in the profile",
            )
        total = len(self.nodes) * self.per_node
        if rank >= total:
            raise HarborError(
                f"{where}: the ranks are 0 to {total - 1}, because nodes={len(self.nodes)} and "
                f"--harbor-ntasks-per-node={self.per_node}.",
                f"--harbor-nnodes {rank // self.per_node + 1}   # with as many hosts in the host list; "
                "or more ranks per node: --harbor-ntasks-per-node",
            )
        return self.nodes[rank // self.per_node], rank % self.per_node
