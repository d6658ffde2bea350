"""What a user may call a job: its number, its rule, its case, or both as `RULE:CASE`.

The `harbor` command and the running controller find jobs by the same rules. In a Snakefile without sweeps, a case is
what the wildcards of a job are. The rule of a group is the rules of its jobs, as in `run+post`. Each of them finds it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from .model import JobId

STEPS = ("pre", "run", "post")
"""The rules of a sweep are its name with one of these endings."""
SUGGESTED = 3
SHOWN = 20
"""A list of jobs shows at most this many."""


@dataclass(frozen=True)
class NamedJob:
    """A job with what its names are made of. `begun` is the time at which it began to run. `others` are the numbers of
    the other jobs of a group.
    """

    number: str
    rule: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    id: JobId = ""
    begun: float | None = None
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"job {self.number} ({job_title(self.rule, self.wildcards)})"


def job_title(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return the rule and the wildcards of a job, such as `slow_run case=c09`."""
    return " ".join([rule, *(f"{name}={value}" for name, value in wildcards.items())])


def full_name(job: NamedJob) -> str:
    """Return a name that only this job has, such as `slow_run:c09`."""
    if not job.wildcards:
        return job.rule
    if len(job.wildcards) == 1:
        return f"{job.rule}:{next(iter(job.wildcards.values()))}"
    return f"{job.rule}:{','.join(f'{name}={value}' for name, value in job.wildcards.items())}"


def matching(jobs: Sequence[NamedJob], name: str) -> list[NamedJob]:
    """Return the jobs that have this name. A number comes before a case that is called like it."""
    return with_number(jobs, name) or with_name(jobs, name)


def with_number(jobs: Iterable[NamedJob], text: str) -> list[NamedJob]:
    """Return the jobs with this number (12), this id (RUN/12), or this name of a log (12.1)."""
    number, _, attempt = text.rpartition(".")
    numbers = {text, number} if attempt.isdecimal() else {text}
    return [job for job in jobs if not numbers.isdisjoint((job.number, *job.others)) or (text and job.id == text)]


def with_name(jobs: Iterable[NamedJob], text: str) -> list[NamedJob]:
    """Return the jobs with this rule, with this case, or with both as RULE:CASE."""
    rule, colon, case = text.partition(":")
    return [
        job
        for job in jobs
        if has_rule(job, text) or _is_case(job, text) or (colon and has_rule(job, rule) and _is_case(job, case))
    ]


def has_rule(job: NamedJob, rule: str) -> bool:
    """Return whether the job is of this rule, or a group with a job of it."""
    return rule == job.rule or rule in job.rule.split("+")


def _is_case(job: NamedJob, text: str) -> bool:
    """Return whether a wildcard has this value. A value may be given with its wildcard's name (`case=c09`), and several
    of them with commas between them (`sample=a,lane=2`). Values themselves may contain `=` and commas.
    """
    values = {*job.wildcards.values(), *(f"{name}={value}" for name, value in job.wildcards.items())}
    return text in values or ("," in text and values.issuperset(text.split(",")))


def are_one_case(jobs: Sequence[NamedJob]) -> bool:
    """Return whether these jobs are the steps of one case. Two sweeps may have cases of the same name."""
    return len({(_sweep(job.rule), tuple(sorted(job.wildcards.items()))) for job in jobs}) == 1 and (
        len({job.rule for job in jobs}) == len(jobs)
    )


def _sweep(rule: str) -> str:
    name, _, step = rule.partition("+")[0].rpartition("_")
    return name if step in STEPS else ""


def last_begun(jobs: Sequence[NamedJob]) -> NamedJob:
    """Return the step of a case that has begun last, or the first one if none has begun."""
    return max(jobs, key=lambda job: job.begun or 0.0)


def suggestions(jobs: Iterable[NamedJob], name: str) -> list[str]:
    """Return names of jobs that the user may have meant."""
    cases = {value for job in jobs for value in job.wildcards.values()}
    of_rule = ((rule, job) for job in jobs for rule in {job.rule, *job.rule.split("+")})
    names = {name for rule, job in of_rule for name in (rule, *(f"{rule}:{value}" for value in job.wildcards.values()))}
    names = {one for one in names if ":" in one} if ":" in name else names - {n for n in names if ":" in n} | cases
    close = get_close_matches(name, sorted(names), SUGGESTED)
    return close or sorted(one for one in names if name and one.startswith(name))[:SUGGESTED]


def listing(jobs: Sequence[NamedJob]) -> str:
    """Return a line for each job: number, rule and wildcards, state."""
    rows = [(job.number, job_title(job.rule, job.wildcards), job.state) for job in jobs[:SHOWN]]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {number:>{widths[0]}}  {title:{widths[1]}}  {state}".rstrip() for number, title, state in rows]
    return "\n".join(lines + [f"  and {len(jobs) - SHOWN} more"] * (len(jobs) > SHOWN))
