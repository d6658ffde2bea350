"""Notes about attempts that were started, and where: one line per start and per end in `.snakemake/harbor/notes`.

Snakemake's incomplete markers do not name the node. There are none for jobs without outputs, and none for jobs that run
in a Snakemake of their own on the node. A line is written before the start message leaves. One append-only file costs
about 10 microseconds per line, and a file per job costs ten times that. The controller that holds the lock is the only
writer.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.model import AttemptLocation, JobId
from ..errors import HarborError


@dataclass(frozen=True)
class Note:
    """A note is about the last attempt of a job that was started under this id.

    `hashes` has one entry per member of a group, because the next run's group may have fewer members. `ended`: the
    attempt has ended, but Snakemake has not recorded its result.
    """

    job: JobId
    attempt: int
    hashes: tuple[str, ...]
    place: AttemptLocation
    ended: bool = False


class AttemptNotes:
    """Holds the notes of earlier runs, and writes those of this run. Any thread may call the methods."""

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self._path = path
        self._warn = warn
        self._warned = False
        self._lock = threading.Lock()
        self._file: int | None = None
        self._unwritten = b""
        self._torn = False
        self._notes: dict[JobId, Note] = {}
        self._by_hash: dict[str, dict[JobId, None]] = {}
        self._load()

    @property
    def any(self) -> bool:
        """Return whether there are notes of earlier runs."""
        return bool(self._notes)

    def get(self, job: JobId) -> Note | None:
        """Return the note of an earlier run's job, or None if it is not known where the job was started."""
        return self._notes.get(job)

    def with_hash(self, hash: str) -> list[Note]:
        """Return the notes of earlier runs about the job with this hash."""
        with self._lock:
            return [self._notes[job] for job in self._by_hash.get(hash, ())]

    def start(self, job: JobId, attempt: int, hashes: Sequence[str], place: AttemptLocation) -> None:
        """Note that an attempt is about to start. No attempt of an earlier run of these jobs runs any more."""
        with self._lock:
            self._append(["start", job, attempt, list(hashes), [place.node, place.host, place.boot_id, place.scratch]])

    def nothing_runs(self, job: JobId) -> None:
        """Note that no attempt of the job runs any more, and that Snakemake does not get its result."""
        with self._lock:
            self._append(["over", job])
            self._apply(["over", job])

    def result_recorded(self, job: JobId) -> None:
        """Note that Snakemake has recorded the job's result."""
        with self._lock:
            self._append(["settled", job])
            self._apply(["settled", job])

    def clear(self) -> None:
        """Delete the notes, because all jobs of the workflow are done."""
        with self._lock:
            self._close()
            self._unwritten = b""
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write the lines that could not be written before, and close the file."""
        with self._lock:
            self._write()
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # --- the file -------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Read the notes of earlier runs, and rewrite the file without the notes that are not needed any more."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise HarborError(
                f"{self._path} cannot be read ({error.strerror}). It names jobs of earlier runs that may still run.",
                f"ls -l {self._path}",
            ) from error
        for line in data.splitlines():
            try:
                self._apply(json.loads(line))
            except (ValueError, TypeError, IndexError, RecursionError):
                # A crash has torn the line, so its start message was never sent.
                continue
        self._compact()

    def _compact(self) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        try:
            if not self._notes:
                self._path.unlink()
                return
            with draft.open("wb") as file:
                for note in self._notes.values():
                    file.writelines(_line(entry) for entry in _entries(note))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            # There is no space. The old file contains the same notes, and may end with a torn line.
            self._torn = True

    def _apply(self, entry: list[Any]) -> None:
        match entry:
            case ["start", str(job), int(attempt), list(hashes), [str(node), str(host), str(boot_id), str(scratch)]]:
                names = tuple(str(name) for name in hashes)
                for hash in names:
                    for other in list(self._by_hash.get(hash, ())):
                        self._drop(other, [hash])
                self._notes[job] = Note(job, attempt, names, AttemptLocation(node, host, boot_id, scratch))
                for hash in names:
                    self._by_hash.setdefault(hash, {})[job] = None
            case ["over", str(job)] if job in self._notes:
                self._notes[job] = replace(self._notes[job], ended=True)
            case ["settled", str(job)] if job in self._notes:
                self._drop(job, self._notes[job].hashes)

    def _drop(self, job: JobId, hashes: Iterable[str]) -> None:
        gone = set(hashes)
        left = tuple(hash for hash in self._notes[job].hashes if hash not in gone)
        for hash in gone:
            self._by_hash.get(hash, {}).pop(job, None)
        if left:
            self._notes[job] = replace(self._notes[job], hashes=left)
        else:
            del self._notes[job]

    def _append(self, entry: list[Any]) -> None:
        self._unwritten += _line(entry)
        self._write()

    def _write(self) -> None:
        """Append the lines that are not written yet. If that fails, they are written together with the next line."""
        if not self._unwritten:
            return
        try:
            if self._file is not None and os.fstat(self._file).st_nlink == 0:
                self._close()  # somebody has deleted .snakemake
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            data = b"\n" + self._unwritten if self._torn else self._unwritten
            self._torn = True
            if os.write(self._file, data) == len(data):
                self._unwritten, self._torn = b"", False
        except OSError as error:
            self._close()
            if not self._warned:
                self._warned = True
                self._warn(
                    f"{self._path} cannot be written ({error.strerror}). The run goes on, and harbor tries again"
                )


def _entries(note: Note) -> Iterable[list[Any]]:
    place = note.place
    yield ["start", note.job, note.attempt, list(note.hashes), [place.node, place.host, place.boot_id, place.scratch]]
    if note.ended:
        yield ["over", note.job]


def _line(entry: list[Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
