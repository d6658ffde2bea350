"""The hash by which a job is recognized after a restart. It covers what the user wrote, never the final command.

Two captures of one job differ (`.snakemake/scripts/tmp*`, cache paths, sets in random order), so a hash of the command
would end healthy jobs. Rule code, shell command, params, inputs, outputs and wildcards do not differ. The id of the
working directory (`store/directory_id.py`) is part of the hash, because jobs of other directories may look the same.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from ..snakemake_internals import job as internals
from ..snakemake_internals.source_cache import without_runtime_directory


def job_hash(job: Any, directory: str) -> str:
    """A hexadecimal digest that is equal in every run for the same job of the working directory with this id."""
    jobs = list(job.jobs) if job.is_group() else [job]
    digest = _begun(directory).copy()
    made = {str(file) for one in jobs for file in one.output} if job.is_group() else set[str]()
    for text in sorted(_describe(one, made) for one in jobs):
        digest.update(b"\0" + text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@cache
def _begun(directory: str) -> "hashlib._Hash":
    return hashlib.sha256(directory.encode())


def _describe(job: Any, made: set[str]) -> str:
    """Describe a job. Its group makes the files `made`. A function that reads one of them has no lasting result."""
    facts, params = internals.identity(job, evaluate=made.isdisjoint(map(str, job.input)))
    return without_runtime_directory(job.rule, repr((*facts, stable(params) if params else "")))


def stable(value: Any) -> str:
    """A `repr` that is the same in another process, with sets in order and without addresses."""
    if isinstance(value, Mapping):
        items = sorted((stable(k), stable(v)) for k, v in value.items())
        return "{" + ",".join(f"{k}:{v}" for k, v in items) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(map(stable, value))) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(stable, value)) + "]"
    if value is None or isinstance(value, (bool, int, float, bytes)):
        return repr(value)
    if isinstance(value, str):
        return repr(str(value))
    if isinstance(value, FunctionType):
        return stable(value.__code__)
    if isinstance(value, CodeType):
        return stable((value.co_code, value.co_names, value.co_consts))
    # The default repr is an address.
    text = repr(value)
    return type(value).__qualname__ if f" at {id(value):#x}" in text else text
