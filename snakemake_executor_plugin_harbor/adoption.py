"""Jobs of an earlier controller that still run, or ended meanwhile: which of Snakemake's jobs they are.

Nodes and Snakemake's persistence know enough; the old journal is not needed. A record is the job if its hash is
equal and, for a job with outputs, Snakemake's incomplete marker names it: a record that was left behind by a
finished run would otherwise pass for the result of `--forceall`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core import events as ev
from .core.model import Seat
from .core.pool import seat_of
from .run.dispatcher import Dispatcher


@dataclass(frozen=True)
class Found:
    """A record on a node that is a job of ours."""

    node: str
    known: ev.Known

    @property
    def seat(self) -> Seat:
        """What it holds there, as its first controller placed it."""
        return seat_of(self.known.meta)


class Adoption:
    """The records of other runs that nodes listed, by hash and by id."""

    def __init__(self, dispatcher: Dispatcher, persistence: Any, run: str) -> None:
        self._dispatcher = dispatcher
        self._persistence = persistence
        self._prefix = f"{run}/"
        self._seen: dict[str, tuple[ev.Known, ...]] = {}
        self._taken: set[tuple[str, int]] = set()
        self._by_hash: dict[str, list[Found]] = {}
        self._by_id: dict[str, list[Found]] = {}

    def expected(self) -> bool:
        """Whether Snakemake's markers say that jobs of an earlier run did not end."""
        return any(Path(".snakemake/incomplete").glob("*"))

    def find(self, job: Any, digest: str) -> Found | None:
        """The record that is this job, taken out of the index; the latest attempt if there are several."""
        self._refresh()
        candidates = self._by_hash.get(digest, [])
        if candidates and list(job.output):
            ids = set(self._external_ids(job))
            candidates = [found for found in candidates if f"harbor:{found.known.job}" in ids]
        if not candidates:
            return None
        best = max(candidates, key=lambda found: (found.known.job.split("/")[0], found.known.attempt))
        self._take(best)
        return best

    def conflicting(self, job: Any) -> list[Found]:
        """Records that still run and write this job's outputs, but are no longer the same job."""
        self._refresh()
        if not self._by_id:
            return []
        found = [f for id in self._external_ids(job) for f in self._by_id.get(id.removeprefix("harbor:"), [])]
        running = [f for f in found if f.known.running]
        for record in running:
            self._take(record)
        return running

    def leftovers(self) -> list[Found]:
        """Ended records of earlier runs that no job claimed. (Nodes list those of this working directory only.)"""
        self._refresh()
        return [found for group in self._by_id.values() for found in group if not found.known.running]

    def _external_ids(self, job: Any) -> list[str]:
        jobs = job.jobs if job.is_group() else [job]
        return [id for member in jobs for id in self._persistence.external_jobids(member)]

    def _refresh(self) -> None:
        known = dict(self._dispatcher.known)
        if all(self._seen.get(node) is records for node, records in known.items()):
            return
        self._seen, self._by_hash, self._by_id = known, {}, {}
        for node, records in known.items():
            for record in records:
                if record.job.startswith(self._prefix) or (record.job, record.attempt) in self._taken:
                    continue
                found = Found(node, record)
                self._by_hash.setdefault(record.hash, []).append(found)
                self._by_id.setdefault(record.job, []).append(found)

    def _take(self, found: Found) -> None:
        self._taken.add((found.known.job, found.known.attempt))
        for index, key in ((self._by_hash, found.known.hash), (self._by_id, found.known.job)):
            index[key] = [f for f in index[key] if f is not found]
