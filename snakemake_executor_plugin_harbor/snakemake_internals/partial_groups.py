"""Groups whose jobs have been done in part.

Snakemake knows only groups that have succeeded or failed as a whole. After a failure it deletes what all jobs of the
group have made, and a retry runs all of them again. Harbor knows which jobs had succeeded before. So `postprocess` of
groups is replaced: what these jobs have made stays, and a retry runs only the others.

Snakemake waits 0.1 s between the levels of each group that has ended, one group after the other, so that files of
different levels have different times. Files that a group has made on a node have them. With 1,000 groups of two levels
the main thread would wait for 100 s, so the pause is left out. (Snakemake 9.27, `GroupJob.postprocess`.)
"""

import types
from collections.abc import Iterable
from functools import cache
from typing import Any

from .contract import Feature
from .job import DONE, PART, done_jobs, kept_outputs
from .verify import has


def install() -> None:
    """Replace `postprocess` of groups, once per process."""
    if has(Feature.GROUPS):
        _install()


@cache
def _install() -> None:
    import snakemake.jobs

    module: Any = snakemake.jobs
    stand_in = types.ModuleType("asyncio")
    stand_in.__dict__.update(module.asyncio.__dict__)
    stand_in.sleep = _no_pause  # type: ignore[attr-defined]
    module.asyncio = stand_in
    postprocess = module.GroupJob.postprocess

    async def postprocess_parts(group: Any, error: bool = False, **options: Any) -> None:
        done = done_jobs(group)
        if not error or not done:
            await postprocess(group, error=error, **options)
            return
        kept = kept_outputs(done)
        options["ignore_missing_output"] = [file for job in done for file in job.output if str(file) not in kept]
        for level in group.toposorted:
            for job in level:
                await job.postprocess(error=job not in done, check_output_mtime=False, **options)

    module.GroupJob.postprocess = postprocess_parts


async def _no_pause(seconds: float) -> None:
    pass


def mark_done(group: Any, jobs: Iterable[Any]) -> None:
    """Note that these jobs of a group have succeeded, and that their outputs are here."""
    if has(Feature.GROUPS):
        setattr(group, DONE, done_jobs(group) | frozenset(jobs))
        set_part(group)


def set_part(group: Any, jobs: Iterable[Any] = ()) -> None:
    """Note that the next attempt of a group runs only these of its jobs. Without jobs, it runs all that remain."""
    setattr(group, PART, frozenset(jobs))


def can_be_divided() -> bool:
    """Return True if a group can be run in parts."""
    return has(Feature.GROUPS)
