"""What makes a job the same job after a restart: a hash of what the user wrote, never of the final command.

Two captures of one job differ (`.snakemake/scripts/tmp*`, cache paths, sets in random order), so that healthy jobs
would be killed. Rule code, shellcmd, params, inputs, outputs and wildcards do not. The id of the working directory
(`store/directory_id.py`) is part of the hash, because other directories have jobs with the same description.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any


def job_hash(job: Any, directory: str) -> str:
    """Hexadecimal digest; equal for the same job of the working directory with this id, in any run."""
    jobs = list(job.jobs) if job.is_group() else [job]
    digest = _begun(directory).copy()
    for text in sorted(map(_describe, jobs)):
        digest.update(b"\0" + text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@cache
def _begun(directory: str) -> "hashlib._Hash":
    return hashlib.sha256(directory.encode())


def _describe(job: Any) -> str:
    rule, params = job.rule, list(job.params._allitems())
    # Strings and lists of strings say the same in every process; only params can be anything.
    parts = (
        rule.name,
        getattr(rule, "run_func_src", None) or "",
        rule.shellcmd or "",
        str(rule.script or rule.wrapper or rule.notebook or ""),
        [str(path) for path in job.input],
        [str(path) for path in job.output],
        [str(path) for path in job.log],
        str(job.benchmark or ""),
        sorted((name, str(value)) for name, value in job.wildcards_dict.items()),
        stable(params) if params else "",
    )
    return _lasting(rule, repr(parts))


def _lasting(rule: Any, text: str) -> str:
    """The text without the directory of Snakemake's source cache, which is another one in each run."""
    cache = rule.workflow.sourcecache
    for directory in (str(cache.runtime_cache_path), cache.runtime_cache.name if cache.runtime_cache else None):
        if directory and directory in text:
            text = text.replace(directory, "")
    return text


def stable(value: Any) -> str:
    """`repr` that is the same in another process: sets in order, no addresses."""
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
