"""The settings that placement follows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The settings that placement follows on all nodes.

    `max_load` times its cores is the highest number of busy cores up to which a node gets jobs. `min_free_mem_mb` of
    memory stay available on each node. `ntasks_per_node` is the highest number of jobs on a node at once (None: the
    node's slots limit it).
    """

    max_load: float = 1.0
    min_free_mem_mb: int = 512
    ntasks_per_node: int | None = None


DEFAULTS = Policy()
