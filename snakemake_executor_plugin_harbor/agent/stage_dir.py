"""The directories of attempts on a node that does not have the working directory.

The mover makes one for each attempt, with the files of the job. The job runs there. The agent deletes it together with
the record of the attempt.
"""

import os
import re
import shutil

from harbor_spool import RECORD

# The id of the working directory, then the attempt.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")
# The output of the job is linked there, so that the mover can send it as the job's log.
LOG = ".harbor/log"


def stage_path(scratch, name):
    """Return the directory of an attempt. ValueError is raised if the name could lead elsewhere."""
    if not NAME.match(name):
        raise ValueError("bad directory %r" % (name,))
    return os.path.join(scratch, "stage", name)


def keep_output(scratch, name, output):
    """Link the output of a job into its directory."""
    try:
        path = os.path.join(stage_path(scratch, name), LOG)
        if not os.path.isdir(os.path.dirname(path)):
            os.mkdir(os.path.dirname(path))
        if os.path.lexists(path):
            os.unlink(path)
        os.link(output, path)
        umask = os.umask(0o077)
        os.umask(umask)
        os.chmod(path, 0o666 & ~umask)
    except (OSError, ValueError):
        pass


def remove_orphans(scratch, owner, run, run_has_ended):
    """Delete the directories of a working directory's attempts that never started.

    Such an attempt has no record, and its run is over: `run` itself has ended, or it is an older one, because a working
    directory has one controller at a time. The names of runs sort by time.
    """
    above = os.path.join(scratch, "stage", owner or "-")
    for name in os.listdir(above) if os.path.isdir(above) else []:
        its_run, _, attempt = name.partition(".")
        record = os.path.join(scratch, "spool", its_run, attempt + RECORD)
        if (its_run < run or (its_run == run and run_has_ended)) and not os.path.exists(record):
            remove_tree(os.path.join(above, name))


def without_record(scratch):
    """Yield (owner, path) of each attempt's directory that has no record, of whatever working directory."""
    stage = os.path.join(scratch, "stage")
    for owner in sorted(os.listdir(stage)) if os.path.isdir(stage) else []:
        above = os.path.join(stage, owner)
        for name in sorted(os.listdir(above)) if os.path.isdir(above) and not os.path.islink(above) else []:
            its_run, _, attempt = name.partition(".")
            if not os.path.exists(os.path.join(scratch, "spool", its_run, attempt + RECORD)):
                yield owner, os.path.join(above, name)


def size_of(path):
    """Return how many bytes the files below a directory have."""
    total = 0
    for above, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(above, name)).st_size
            except OSError:
                pass
    return total


def remove_tree(path):
    """Delete a directory, also one with directories that may not be written to. Empty directories above it go, too."""

    def unlock(function, inner, _):
        try:
            for locked in (os.path.dirname(inner), inner):
                if os.path.isdir(locked) and not os.path.islink(locked):
                    os.chmod(locked, 0o700)
            if os.path.isdir(inner) and not os.path.islink(inner):
                shutil.rmtree(inner, ignore_errors=True)
            else:
                os.unlink(inner)
        except OSError:
            pass

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=unlock)
    for above in (os.path.dirname(path), os.path.dirname(os.path.dirname(path))):
        try:
            os.rmdir(above)
        except OSError:
            return
