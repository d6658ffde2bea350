"""Finds jobs of an earlier controller that still run, or have ended meanwhile, among the records that nodes list.

The records, Snakemake's incomplete markers and our notes suffice, so the old journal is not read. A record of a job
that runs is accepted if its hash is equal. A record of a job that has ended must also be named by the job's incomplete
marker or by our notes. Otherwise `snakemake --forceall` would accept a record of a finished run as its new result.
"""

import threading
from dataclasses import replace
from typing import Any

from ..core.job import LOST_REASONS
from ..core.model import AttemptLocation, JobId
from ..run.dispatcher import Dispatcher
from ..snakemake_internals.persistence import Markers, marker_of
from ..store.attempt_notes import AttemptNotes
from ..store.workdir import Workdir
from .found_record import FoundRecord
from .job_hash import job_hash


class Adoption:
    """The records of earlier runs that nodes listed, by hash. Snakemake's thread and the dispatcher's thread use it."""

    def __init__(
        self, dispatcher: Dispatcher, markers: Markers, run: str, workdir: Workdir, notes: AttemptNotes
    ) -> None:
        self._workdir = workdir
        self._notes = notes
        self._lock = threading.RLock()
        self._dispatcher = dispatcher
        self._markers = markers
        self._prefix = f"{run}/"
        self._seen_version = -1
        self._taken: set[tuple[str, int]] = set()
        self._by_hash: dict[str, list[FoundRecord]] = {}

    def may_have_record(self, job: Any) -> bool:
        """Return True if an earlier run may have started the job. If not, its hash is not needed."""
        with self._lock:
            self._refresh()
            return bool(self._by_hash or self._notes.any or self._earlier_ids(job))

    def find(self, job: Any, digest: str, spawned: bool) -> FoundRecord | None:
        """Find the job's record and remove it from the index. The latest attempt wins if there are several.

        `spawned` says that the job runs in a Snakemake of its own. That process lives for a moment after it has
        recorded the job's end, so a job whose marker is gone is not adopted although its process still runs.
        """
        with self._lock:
            return self._find(job, digest, spawned) if digest else None

    def _find(self, job: Any, digest: str, spawned: bool) -> FoundRecord | None:
        self._refresh()
        candidates = [found for found in self._by_hash.get(digest, []) if self._is_valid(found)]
        if not candidates:
            return None
        ids = set(self._earlier_ids(job, digest))
        candidates = [f for f in candidates if f.record.job in ids or (f.record.running and not spawned)]
        if not candidates:
            return None
        best = max(candidates, key=lambda found: (found.record.job.split("/")[0], found.record.attempt))
        self._remove(best)
        return best

    def leftovers(self) -> list[FoundRecord]:
        """The records that no job of this run needs, so that those of ended jobs can be deleted.

        Records of this run are among them if their node was disconnected when their end was reported. Records of jobs
        with an incomplete marker are not, because they belong to other targets than those of this run.
        """
        markers = self._markers.text()
        found = [FoundRecord(node, record) for node, record in self._dispatcher.node_records.all()]
        return [one for one in found if marker_of(one.record.job) not in markers]

    def earlier_locations(self, job: Any, digest: str) -> dict[JobId, AttemptLocation]:
        """The ids under which earlier runs started a job whose end is not known, with the place of each attempt."""
        found = {}
        for id in self._earlier_ids(job, digest):
            note = self._notes.get(id)
            if note is None:
                found[id] = AttemptLocation()
            elif not note.ended:
                found[id] = replace(note.place, fenced=self._workdir.fences.is_fenced(id, note.attempt))
        return found

    def _earlier_ids(self, job: Any, digest: str = "") -> tuple[JobId, ...]:
        """The ids under which earlier runs started a job, from the incomplete markers and from our notes.

        A note counts only if the job has a marker. Without one, Snakemake knows the job's end. `digest` is the job's
        hash, if the caller has it.
        """
        if not (self._markers.any_at_start or self._notes.any):
            return ()
        members = job.jobs if job.is_group() else [job]
        ids = self._markers.ids(members)
        if self._notes.any:
            for member in members:
                own = digest if digest and not job.is_group() else job_hash(member, self._workdir.id)
                notes = self._notes.with_hash(own)
                if notes and self._markers.has_marker(member):
                    ids += [note.job for note in notes]
        return tuple(sorted({id for id in ids if not id.startswith(self._prefix)}))

    def _is_valid(self, found: FoundRecord) -> bool:
        """Return True if the record can be the job's result or its running attempt.

        It cannot if the attempt still runs and was given up, if a controller ended it, or if Snakemake knows its end.
        """
        record = found.record
        if record.exit is not None:
            return record.exit.get("reason") not in LOST_REASONS and not self._workdir.fences.is_result_recorded(
                record.job, record.attempt
            )
        return not self._workdir.fences.is_fenced(record.job, record.attempt)

    def _refresh(self) -> None:
        """Build the index again if nodes have listed more records."""
        records = self._dispatcher.node_records
        if self._seen_version == records.version:
            return
        self._seen_version, self._by_hash = records.version, {}
        for node, record in records.all():
            if (
                not record.foreign
                and not record.job.startswith(self._prefix)
                and (record.job, record.attempt) not in self._taken
            ):
                self._by_hash.setdefault(record.hash, []).append(FoundRecord(node, record))

    def _remove(self, found: FoundRecord) -> None:
        """Two names of one machine list the same record, so both are removed."""
        record = found.record
        key = (record.job, record.attempt)
        self._taken.add(key)
        self._by_hash[record.hash] = [
            other for other in self._by_hash[record.hash] if (other.record.job, other.record.attempt) != key
        ]
