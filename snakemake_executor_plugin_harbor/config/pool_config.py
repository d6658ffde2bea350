"""Checks the settings and turns them into a frozen PoolConfig. Errors name the option or file and what to type."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..core.model import NodeSpec
from ..core.policy import Policy
from ..core.timeouts import Timeouts
from ..errors import HarborError
from .host import with_unique_names
from .hostfile import parse_hosts, read_hostfile
from .settings import STALL_MIN_S, ExecutorSettings

_BOUNDS = (
    ("max_load", 0.01, 1000),
    ("min_free_mem_mb", 0, 10**9),
    ("nice", 0, 19),
    ("cache_mb", 0, 10**9),
    ("lost_after", 1, 10**7),
    ("fence_wait", 0, 10**7),
    ("stall_after", STALL_MIN_S, 10**9),
    ("nnodes", 1, 10**6),
    ("ntasks_per_node", 1, 10**6),
    ("keep_runs", 1, 10**6),
    ("keep_days", 1, 10**5),
)


@dataclass(frozen=True)
class PoolConfig:
    """Holds the settings after validation. The password is not among them; `pop_password` returns it.

    `nnodes` is the number of nodes that must be ready before the first job starts. None means that one suffices.
    """

    nodes: tuple[NodeSpec, ...]
    nnodes: int | None
    policy: Policy
    timeouts: Timeouts
    ssh_config: Path | None
    transport: str
    dispatch: str
    staging: str
    cache_mb: int
    scratch: str | None
    nice: int
    on_hangup: str
    command_factory: str | None
    log_dir: Path


def pool_config(settings: ExecutorSettings) -> PoolConfig:
    """Check every setting and read the host list. Raises HarborError for the first one that is wrong."""
    _check_bounds(settings)
    return PoolConfig(
        nodes=host_list(settings),
        nnodes=settings.nnodes,
        policy=Policy(settings.max_load, settings.min_free_mem_mb, settings.ntasks_per_node),
        timeouts=Timeouts(
            settings.lost_after, settings.fence_wait, settings.stall_after, kill_stalled=settings.on_stall == "kill"
        ),
        ssh_config=settings.ssh_config,
        transport=settings.transport,
        dispatch=settings.dispatch,
        staging=settings.staging,
        cache_mb=settings.cache_mb,
        scratch=settings.scratch,
        nice=settings.nice,
        on_hangup=settings.on_hangup,
        command_factory=settings.command_factory,
        log_dir=Path(settings.log_dir),
    )


def host_list(settings: ExecutorSettings) -> tuple[NodeSpec, ...]:
    """Return the nodes that the settings name. Raises HarborError for the first mistake."""
    given: Any = settings.hosts
    words = [str(host) for host in given] if isinstance(given, (list, tuple)) else [str(given)] if given else []
    listed = read_hostfile(Path(settings.hostfile)) if settings.hostfile is not None else []
    added = parse_hosts(words or ["localhost"]) if words or settings.hostfile is None else []
    where = settings.hostfile or "--harbor-hosts"
    try:
        nodes = with_unique_names([*listed, *added], where)
    except HarborError as error:
        both = {node.name for node in listed} & {node.name for node in added}
        if not both:
            raise
        raise HarborError(
            f"node {min(both)} is in the host list twice: --harbor-hosts adds to the hosts of {settings.hostfile}.",
            f"--harbor-hosts {' '.join(words)}   # without --harbor-hostfile, these hosts alone",
        ) from error
    if not nodes:
        raise HarborError(f"{where}: the host list is empty.", "--harbor-hosts 8/ada,carol@grace")
    if settings.nnodes is not None:
        missing = settings.nnodes - len(nodes)
        if missing > 0:
            raise HarborError(
                f"--harbor-nnodes {settings.nnodes}: the host list has only {len(nodes)}, so {missing} "
                f"{'is' if missing == 1 else 'are'} missing.",
                f"--harbor-nnodes {len(nodes)}",
            )
        nodes = nodes[: settings.nnodes]
    return tuple(nodes)


def _check_bounds(settings: ExecutorSettings) -> None:
    for name, low, high in _BOUNDS:
        value = getattr(settings, name)
        if value is not None and not low <= value <= high:
            option = "--harbor-" + name.replace("_", "-")
            default = next(field.default for field in fields(settings) if field.name == name)
            raise HarborError(
                f"{option}: {value} is out of range. It must be from {low} to {high}.",
                f"{option} {low if default is None else default}",
            )
    if settings.scratch is not None and not settings.scratch.startswith("/"):
        raise HarborError(
            f"--harbor-scratch: {settings.scratch!r} must be an absolute path, because every node uses it.",
            "--harbor-scratch /var/tmp/harbor",
        )
