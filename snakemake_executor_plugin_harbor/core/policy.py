"""The settings that placement obeys, the same for all nodes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The settings that placement obeys, the same for all nodes."""

    max_load: float = 1.0
    min_free_mem_mb: int = 512
    ntasks_per_node: int | None = None


DEFAULTS = Policy()
