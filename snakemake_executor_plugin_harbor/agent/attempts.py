"""Keeps the attempts that this agent knows, and their files in the spool."""

import errno
import os
import re
import time

from harbor_log_delivery import is_copied_by_another
from harbor_record import Record
from harbor_spool import ENDING, RECORD, append_line, private_directory, read_record, remove_files
from harbor_stage_dir import remove_orphans, remove_tree, stage_path
from harbor_system import BOOT_ID

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
MAX_ATTEMPT = 999999
FILE_NAME = re.compile(r"(.+)\.([0-9]+)%s\Z" % re.escape(RECORD))
KEPT_FACTS = (
    "hash",
    "meta",
    "name",
    "log",
    "cpus",
    "progress",
    "runtime",
    "stage",
)  # of a start message, in the record
DELETE_AFTER = 5.0
FORGOTTEN_MAX = 20000


def is_same_directory(one, other):
    """Return whether two values of `where` are one directory. A copy elsewhere has another path and another inode."""
    if not isinstance(one, list) or not isinstance(other, list) or len(one) != 2 or len(other) != 2:
        return False
    return any(found is not None and found == other[i] for i, found in enumerate(one))


def is_unattended(record):
    """Return whether this agent has to conclude an attempt of an earlier one, because nobody else will do that."""
    if record.spec is not None or record.is_attended():
        return False
    return record.has_ended() and not is_copied_by_another(record)


class Attempts:
    """`records` has the attempts as {(job, attempt): Record}, without those that the controller has forgotten."""

    def __init__(self, scratch, welcome):
        self.scratch = scratch
        self.spool = private_directory(os.path.join(scratch, "spool"))
        self.owner = welcome.get("owner")
        self.workdir = welcome.get("workdir")
        self.run = welcome.get("run") or "-"
        self.run_has_ended = False
        self.records = {}
        self.forgotten = []
        self.delete_at = 0.0

    def running(self):
        return [record for record in self.records.values() if record.is_running]

    def all_have_ended(self):
        """Return whether every attempt has ended and its end is final."""
        return not any(record.exit is None for record in self.records.values())

    def is_ours(self, info):
        """Return whether a record is of our controller."""
        return info.get("owner") == self.owner

    def where(self):
        """Return the place of our working directory: its path, and its device and inode as this node sees them."""
        try:
            found = os.stat(self.workdir)
        except (OSError, TypeError):
            return [self.workdir, None]
        return [os.path.realpath(self.workdir), [found.st_dev, found.st_ino]]

    def known_message(self, record):
        """Return the message that lists an attempt after hello. An exit notice contains the same."""
        info = record.info
        return {
            "t": "known", "job": record.job, "attempt": record.attempt,
            "state": "running" if record.exit is None else "exited", "hash": info.get("hash", ""),
            "meta": info.get("meta") or {}, "name": info.get("name", ""), "exit": record.exit,
            "foreign": not self.is_ours(info),
        }  # fmt: skip

    # --- files ---

    def stored(self):
        """Yield a Record for each attempt in the spool that is of this controller.

        Attempts of another controller are left to its agent, and count as foreign load. But those that were started in
        our working directory while it had another id are included. An attempt with a directory of its own was not: on a
        node that shares nothing, the directories of two controllers may have the same path.
        """
        here = self.where()
        for run in sorted(os.listdir(self.spool)):
            base = os.path.join(self.spool, run)
            if not NAME.match(run) or os.path.islink(base) or not os.path.isdir(base):
                continue
            for name in sorted(os.listdir(base)):
                match = FILE_NAME.match(name)
                if match is None or not NAME.match(match.group(1)):
                    continue
                path = os.path.join(base, name)
                info = read_record(path)
                in_our_directory = not info.get("stage") and is_same_directory(here, info.get("where"))
                if "boot_id" not in info or not (self.is_ours(info) or in_our_directory):
                    continue
                yield Record(path[: -len(RECORD)], "%s/%s" % (run, match.group(1)), int(match.group(2)), info)

    def new_record(self, job, attempt, spec):
        """Return the Record of an attempt that is going to start. It is not on disk yet."""
        info = {name: spec[name] for name in KEPT_FACTS if spec.get(name) is not None}
        info.update(boot_id=BOOT_ID, start=time.time(), owner=self.owner, where=self.where())
        info["keepers"] = [os.getpid(), os.getppid()]
        if len(spec["scripts"]) > 1:
            info["scripts"] = len(spec["scripts"])
        record = Record(os.path.join(self.spool, "%s.%d" % (job, attempt)), job, attempt, info)
        record.spec = spec
        return record

    def create(self, record):
        """Write a record to disk. This comes before its process starts, so that no job runs without a trace.

        It is tried three times, because agents that end remove directories that are empty.
        """
        for last in (False, False, True):
            try:
                if not os.path.isdir(os.path.dirname(record.base)):
                    private_directory(self.scratch)
                    private_directory(self.spool)
                    os.makedirs(os.path.dirname(record.base), 0o700, exist_ok=True)
                append_line(record.base + RECORD, record.info, ENDING)
                return
            except OSError as error:
                if last or error.errno != errno.ENOENT:
                    raise

    def forget(self, record):
        """Take out an attempt whose end the controller knows. Its files are deleted later."""
        del self.records[(record.job, record.attempt)]
        record.append(forgotten=True)
        self.forgotten.append(record)
        self.delete_at = time.monotonic() + DELETE_AFTER
        if len(self.forgotten) > FORGOTTEN_MAX:
            self.delete_forgotten()

    def delete_forgotten(self):
        """Delete the files of forgotten attempts.

        They are deleted all at once, after a pause. If files were deleted within the last minutes, ext4 takes 0.3 ms to
        make a new one, and a busy node makes two for each job.
        """
        for record in self.forgotten:
            self.delete(record)
        self.forgotten = []

    def delete(self, record):
        """Delete the files of an attempt, and the directory of its run if no attempt of that run is left."""
        if record.info.get("stage"):
            remove_tree(stage_path(self.scratch, record.info["stage"]))
        remove_files(record.base)
        if not any(job.startswith(record.job.partition("/")[0] + "/") for job, _ in self.records):
            try:
                os.rmdir(os.path.dirname(record.base))
            except OSError:
                pass

    def remove_orphans(self):
        """Remove the directories that were made for attempts which never started."""
        remove_orphans(self.scratch, self.owner, self.run, self.run_has_ended)

    def remove_empty_directories(self):
        """Remove the directories of the spool that are empty. Another agent may still use the rest."""
        runs = [os.path.join(self.spool, run) for run in os.listdir(self.spool)] if os.path.isdir(self.spool) else []
        stage, cache = os.path.join(self.scratch, "stage"), os.path.join(self.scratch, "cache")
        for path in runs + [self.spool, stage, os.path.join(cache, "part"), cache, self.scratch]:
            try:
                os.rmdir(path)
            except OSError:
                pass
