"""Answers to requests about jobs by their names, also about those that Snakemake has not handed over yet."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..core.job_names import (
    NamedJob,
    are_one_case,
    full_name,
    has_rule,
    listing,
    matching,
    suggestions,
    with_name,
    with_number,
)
from ..errors import HarborError
from ..jobs.cancellation import Cancellation
from ..snakemake_internals import scheduler


class JobRequests:
    """Used on the control socket's thread."""

    def __init__(self, workflow: Any, cancellation: Cancellation, info: Callable[[str], object]) -> None:
        """`info` writes a line to Snakemake's log."""
        self._workflow = workflow
        self._cancellation = cancellation
        self._info = info

    def find(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the jobs that have not ended and have this name, and names that the user may have meant."""
        name = str(request.get("name"))
        jobs = self._cancellation.jobs() if scheduler.is_built(self._workflow) else []
        return {"jobs": [str(job) for job in matching(jobs, name)], "meant": suggestions(jobs, name)}

    def cancel(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """End jobs by their names, and all jobs of rules. Raises HarborError, and ends none, if a name is wrong."""
        if not scheduler.is_built(self._workflow):
            raise HarborError("the run still waits for its first node, and no job has been started.", "harbor status")
        jobs = self._cancellation.jobs()
        found = [job for name in request.get("names") or () for job in _case(jobs, str(name))]
        found += [job for rule in request.get("rules") or () for job in _of_rule(jobs, str(rule))]
        chosen = {job.number: job for job in found}
        for job in chosen.values():
            self._info(f"{job} is cancelled by the user (harbor cancel)")
        self._cancellation.cancel(chosen)
        shown = [{"id": job.number, "rule": job.rule, "wildcards": dict(job.wildcards)} for job in chosen.values()]
        return {"jobs": shown, "keep_going": scheduler.keeps_going(self._workflow)}


def _case(jobs: list[NamedJob], name: str) -> list[NamedJob]:
    """Return the steps of the one case that has this name and that have not ended.

    A number may also be the name of a case. Then it is ambiguous, because the wrong job would be ended.
    """
    found = [*with_number(jobs, name), *with_name(jobs, name)]
    if not found:
        raise _none(name, suggestions(jobs, name))
    if not are_one_case(found):
        hint = f"harbor cancel {shlex.quote(full_name(found[-1]))}"
        if any(has_rule(job, name) for job in found):
            hint += f"   # all of them: harbor cancel --rule {name}"
        raise HarborError(f"{len(found)} jobs have the name {name!r}, so none was cancelled:\n{listing(found)}", hint)
    return found


def _of_rule(jobs: list[NamedJob], rule: str) -> list[NamedJob]:
    found = [job for job in jobs if has_rule(job, rule)]
    if not found:
        raise _none(rule, suggestions([NamedJob("", job.rule) for job in jobs], rule))
    return found


def _none(name: str, meant: Iterable[str]) -> HarborError:
    did_you_mean = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return HarborError(
        f"no job with the name {name!r} runs or waits, so none was cancelled.{did_you_mean}", "harbor status"
    )
