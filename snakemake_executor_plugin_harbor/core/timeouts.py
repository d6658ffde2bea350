"""The time limits of a run, as the user has set them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """All times are in seconds.

    `lost_after`: the jobs of an unreachable node are given up after this time. `fence_wait`: a fence has taken effect
    after this time. `stall_after`: a job that shows no activity for this time is stalled. `kill_stalled`: a stalled job
    is killed and tried again. Otherwise the user gets a warning.
    """

    lost_after: float = 120.0
    fence_wait: float = 90.0
    stall_after: float = 7200.0
    kill_stalled: bool = False
