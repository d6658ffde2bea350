"""The hash by which a job is recognized after a restart. It covers what the user wrote, never the final command.

Two captures of one job differ (`.snakemake/scripts/tmp*`, cache paths, sets in random order), so a hash of the command
would end healthy jobs. Rule code, shell command, params, inputs, outputs and wildcards do not differ. The id of the
working directory (`store/directory_id.py`) is part of the hash, because jobs of other directories may look the same.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..snakemake_internals import job as internals
from ..snakemake_internals.source_cache import without_runtime_directory


def job_hash(job: Any, directory: str) -> str:
    """A hexadecimal digest that is equal in every run for the same job of the working directory with this id."""
    jobs = list(job.jobs) if job.is_group() else [job]
    digest = _begun(directory).copy()
    for text in sorted(map(_describe, jobs)):
        digest.update(b"\0" + text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@cache
def _begun(directory: str) -> "hashlib._Hash":
    return hashlib.sha256(directory.encode())


def _describe(job: Any) -> str:
    facts, params = internals.identity(job)
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
    # The default repr is an address.
    text = repr(value)
    return type(value).__qualname__ if f" at {id(value):#x}" in text else text
