"""A job's record in a node's spool, which an earlier run of this directory made."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from ..core import events as ev
from ..core.job import reservation_of
from ..core.model import Reservation


@dataclass(frozen=True)
class CheckedMeta:
    """The facts that an earlier controller stored in the record to go on with the job, as far as they are plausible.

    It comes back from the node, which may be compromised. So numbers have bounds, and a path counts only if it lies
    where Snakemake and harbor put such files, because these files are deleted in the end.
    """

    snakemake_attempt: int | None = None
    shadow_dir: str | None = None
    proc_id: int | None = None
    prepared: float | None = None
    log: str | None = None
    temp_files: tuple[str, ...] = ()
    staged: bool = False
    by_snakemake: bool = False
    part: tuple[int, ...] = ()
    done: tuple[int, ...] = ()


@dataclass(frozen=True)
class FoundRecord:
    """A record that a node listed."""

    node: str
    record: ev.NodeRecord

    @property
    def reservation(self) -> Reservation:
        """The slots and GPUs that the job holds on the node, as its first controller placed it."""
        return reservation_of(self.record.meta)

    def checked_meta(self, shadow: Path, logs: Path) -> CheckedMeta:
        """The rest of what its controller stored. `shadow` and `logs` are the directories of this run."""
        meta, snakemake = self.record.meta, Path(".snakemake")
        files = meta.get("litter")
        temp_files = (
            _path_below(file, snakemake, r"scripts/[^/]+|shell_tmp\.[^/]+|harbor/start/[^/]+")
            for file in (files if isinstance(files, list) else [])
        )
        return CheckedMeta(
            _number(meta.get("snakemake_attempt"), 1),
            _path_below(meta.get("shadow_dir"), shadow, "[^/]+"),
            _number(meta.get("proc_id"), 0),
            _time(meta.get("prepared")),
            _path_below(meta.get("log"), logs, ".+"),
            tuple(path for path in temp_files if path is not None),
            meta.get("staged") is True,
            meta.get("by_snakemake") is True,
            _numbers(meta.get("part")),
            _numbers(meta.get("done")),
        )


def _number(value: object, low: int) -> int | None:
    return value if isinstance(value, int) and low <= value < 1_000_000 else None


def _numbers(value: object) -> tuple[int, ...]:
    numbers = (_number(one, 0) for one in (value if isinstance(value, list) else []))
    return tuple(one for one in numbers if one is not None)


def _time(value: object) -> float | None:
    """The time at which the job was started, by the clock of the controller. It is not in the future."""
    return float(value) if isinstance(value, (int, float)) and 0 < value <= time.time() else None


def _path_below(value: object, directory: Path, pattern: str) -> str | None:
    """The path unchanged, if it resolves to a path below `directory` whose rest matches `pattern`."""
    if not isinstance(value, str) or "\0" in value:
        return None
    path, base = os.path.realpath(value), os.path.realpath(directory)
    return value if re.fullmatch(re.escape(base) + "/(?:" + pattern + ")", path, re.DOTALL) else None
