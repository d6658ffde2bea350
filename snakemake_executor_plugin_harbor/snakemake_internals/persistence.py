"""Snakemake's records of jobs that have begun and not ended: the incomplete markers in `.snakemake/incomplete`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ID_PREFIX = "harbor:"
"""An id of harbor in a marker begins so. Other executors write ids of their own."""


class Markers:
    """The incomplete markers. Each may contain the id under which a job was started."""

    def __init__(self, workflow: Any) -> None:
        self._persistence = workflow.persistence
        # Snakemake can keep its records in a database instead (--persistence-backend db).
        self._files = hasattr(self._persistence, "_incomplete_path")
        self.any_at_start = not self._files or any(names for _, _, names in os.walk(self._persistence._incomplete_path))
        """False if no earlier run has left a marker. This saves 0.1 ms per job for a read of a file that is not there.
        """

    def ids(self, jobs: Iterable[Any]) -> list[str]:
        """The ids of harbor under which earlier runs started these jobs, without the prefix."""
        ids = [str(id) for job in jobs for id in self._persistence.external_jobids(job)]
        return [id.removeprefix(ID_PREFIX) for id in ids if id.startswith(ID_PREFIX)]

    def has_marker(self, job: Any) -> bool:
        """Return True if the job has begun and not ended, under any id. A job without outputs always counts as such.

        The node's own Snakemake removes the marker when it has run the job.
        """
        keys = [self._persistence._get_key(file) for file in job.output]
        if not keys:
            return True
        if not self._files:
            return bool(self._persistence._filter_incomplete_keys(keys))
        # FilePersistence._filter_incomplete_keys is not used, because it fills a cache. Starts and ends of other jobs
        # empty that cache on other threads while it is read: TypeError, 'NoneType' is not iterable (2 of 13 runs of
        # 2,000 trivial jobs).
        directory = self._persistence._incomplete_path
        return any(os.path.exists(self._persistence._record_path(directory, key)) for key in keys)

    @staticmethod
    def text() -> str:
        """The contents of all markers below the working directory, also of those that belong to other targets."""
        files = [path for path in Path(".snakemake/incomplete").rglob("*") if path.is_file()]
        return "".join(path.read_text(errors="replace") for path in files)


def marker_of(id: str) -> str:
    """Return the text that `Markers.text` contains if a marker has this id of harbor."""
    return f'"{ID_PREFIX}{id}"'


def shadow_path(workflow: Any) -> Path:
    """The directory of all shadow directories."""
    return Path(workflow.persistence.shadow_path)
