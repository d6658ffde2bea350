"""Jobs of an earlier controller that still run, or ended meanwhile: which of Snakemake's jobs they are.

Nodes, Snakemake's persistence and our notes know enough; the old journal is not needed. A record that runs is the job
if its hash is equal. One that has ended also has to be named by Snakemake's incomplete marker or by our notes, because
a record that was left behind by a finished run would otherwise pass for the result of `--forceall`.
"""

import os
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakemake.persistence.file import FilePersistence

from ..core import events as ev
from ..core.job import LOST_REASONS, reservation_of
from ..core.model import AttemptLocation, JobId, Reservation
from ..run.dispatcher import Dispatcher
from ..store.attempt_notes import AttemptNotes
from ..store.workdir import Workdir
from .job_hash import job_hash


@dataclass(frozen=True)
class CheckedMeta:
    """What an earlier controller gave a job's node to keep, as far as it makes sense.

    It comes back from the node, which may have been taken over by somebody: numbers are checked, and paths have to lie
    where Snakemake and harbor put such files. They are deleted in the end.
    """

    snakemake_attempt: int | None = None
    shadow_dir: str | None = None
    proc_id: int | None = None
    log: str | None = None
    temp_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundRecord:
    """A record on a node that is a job of ours."""

    node: str
    record: ev.NodeRecord

    @property
    def reservation(self) -> Reservation:
        """What it holds there, as its first controller placed it."""
        return reservation_of(self.record.meta)

    def checked_meta(self, shadow: Path, logs: Path) -> CheckedMeta:
        """The rest of what it was given to keep; `shadow` and `logs` are the directories of this run."""
        meta, snakemake = self.record.meta, Path(".snakemake")
        kept = meta.get("litter")
        temp_files = (
            _below(item, snakemake, r"scripts/[^/]+|shell_tmp\.[^/]+|harbor/start/[^/]+")
            for item in (kept if isinstance(kept, list) else [])
        )
        return CheckedMeta(
            _number(meta.get("snakemake_attempt"), 1),
            _below(meta.get("shadow_dir"), shadow, "[^/]+"),
            _number(meta.get("proc_id"), 0),
            _below(meta.get("log"), logs, ".+"),
            tuple(path for path in temp_files if path is not None),
        )


class Adoption:
    """The records of other runs that nodes listed, by hash."""

    def __init__(
        self, dispatcher: Dispatcher, persistence: Any, run: str, workdir: Workdir, notes: AttemptNotes
    ) -> None:
        self._workdir = workdir
        self._notes = notes
        self._lock = threading.RLock()
        self._dispatcher = dispatcher
        self._persistence = persistence
        # What this run begins is not of interest: 0.1 ms a job for a look at a file that is not there.
        self._any_marked = not isinstance(persistence, FilePersistence) or any(
            names for _, _, names in os.walk(persistence._incomplete_path)
        )
        self._prefix = f"{run}/"
        self._seen = -1
        self._taken: set[tuple[str, int]] = set()
        self._by_hash: dict[str, list[FoundRecord]] = {}

    def may_have_record(self, job: Any) -> bool:
        """Whether there may be a record of the job: its hash is wanted."""
        with self._lock:
            self._refresh()
            return bool(self._by_hash or self._notes.any or self._ids(job))

    def find(self, job: Any, digest: str, spawned: bool) -> FoundRecord | None:
        """The record that is this job, taken out of the index; the latest attempt if there are several. `spawned`: it
        runs in a Snakemake of its own, which goes on for a moment after it has recorded the job's end.
        """
        with self._lock:
            return self._find(job, digest, spawned) if digest else None

    def _find(self, job: Any, digest: str, spawned: bool) -> FoundRecord | None:
        self._refresh()
        candidates = [found for found in self._by_hash.get(digest, []) if self._valid(found)]
        if not candidates:
            return None
        ids = set(self._ids(job, digest))
        candidates = [f for f in candidates if f.record.job in ids or (f.record.running and not spawned)]
        if not candidates:
            return None
        best = max(candidates, key=lambda found: (found.record.job.split("/")[0], found.record.attempt))
        self._take(best)
        return best

    def leftovers(self) -> list[FoundRecord]:
        """Records that nodes listed and that nobody will ask for: what has ended of them can go.

        This run's own are among them if their node was away when their end was taken in. Those of jobs with a marker
        stay: they belong to other targets than this run's.
        """
        markers = [path for path in Path(".snakemake/incomplete").rglob("*") if path.is_file()]
        marked = "".join(path.read_text(errors="replace") for path in markers)
        found = [FoundRecord(node, record) for node, record in self._dispatcher.node_records.all()]
        return [one for one in found if f'"harbor:{one.record.job}"' not in marked]

    def earlier_locations(self, job: Any, digest: str) -> dict[JobId, AttemptLocation]:
        """The ids under which earlier runs started a job whose end is not known, with the place of each."""
        found = {}
        for id in self._ids(job, digest):
            note = self._notes.get(id)
            if note is None:
                found[id] = AttemptLocation()
            elif not note.ended:
                found[id] = replace(note.place, fenced=self._workdir.fences.is_fenced(id, note.attempt))
        return found

    def _ids(self, job: Any, digest: str = "") -> tuple[JobId, ...]:
        """The ids under which earlier runs started a job, by Snakemake's incomplete markers and our notes. Snakemake
        knows the end of a job with outputs that has no marker. `digest` is the job's hash, if that is known already.
        """
        if not (self._any_marked or self._notes.any):
            return ()
        members = job.jobs if job.is_group() else [job]
        ids = [str(id) for member in members for id in self._persistence.external_jobids(member)]
        ours = [id.removeprefix("harbor:") for id in ids if id.startswith("harbor:")]
        if self._notes.any:
            for member in members:
                own = digest if digest and not job.is_group() else job_hash(member, self._workdir.id)
                notes = self._notes.with_hash(own)
                if notes and marked(self._persistence, member):
                    ours += [note.job for note in notes]
        return tuple(sorted({id for id in ours if not id.startswith(self._prefix)}))

    def _valid(self, found: FoundRecord) -> bool:
        """Whether a record stands for its job: not if it runs and was given up, or ended by a controller's will, or if
        Snakemake knew its end.
        """
        record = found.record
        if record.exit is not None:
            return record.exit.get("reason") not in LOST_REASONS and not self._workdir.fences.is_result_recorded(
                record.job, record.attempt
            )
        return not self._workdir.fences.is_fenced(record.job, record.attempt)

    def _refresh(self) -> None:
        listing = self._dispatcher.node_records
        if self._seen == listing.version:
            return
        self._seen, self._by_hash = listing.version, {}
        for node, record in listing.all():
            if (
                not record.foreign
                and not record.job.startswith(self._prefix)
                and (record.job, record.attempt) not in self._taken
            ):
                self._by_hash.setdefault(record.hash, []).append(FoundRecord(node, record))

    def _take(self, found: FoundRecord) -> None:
        record = found.record
        self._taken.add((record.job, record.attempt))
        self._by_hash[record.hash] = [f for f in self._by_hash[record.hash] if f is not found]


def marked(persistence: Any, job: Any) -> bool:
    """Whether Snakemake has the job as begun and not ended, under whatever id: the node's own Snakemake takes the
    marker away when it is done.
    """
    keys = [persistence._get_key(file) for file in job.output]
    if isinstance(persistence, FilePersistence):
        # Its _filter_incomplete_keys fills a cache, which starts and ends of other jobs, on other threads, empty while
        # it is read: TypeError, 'NoneType' is not iterable (2 of 13 runs of 2,000 trivial jobs).
        found = any(os.path.exists(persistence._record_path(persistence._incomplete_path, key)) for key in keys)
    else:
        found = bool(persistence._filter_incomplete_keys(keys))
    return not keys or found


def _number(value: object, low: int) -> int | None:
    return value if isinstance(value, int) and low <= value < 1_000_000 else None


def _below(value: object, directory: Path, form: str) -> str | None:
    """The path as it was given, if it leads to what `form` describes below `directory`."""
    if not isinstance(value, str) or "\0" in value:
        return None
    path, base = os.path.realpath(value), os.path.realpath(directory)
    return value if re.fullmatch(re.escape(base) + "/(?:" + form + ")", path, re.DOTALL) else None
