"""Copy a template for a case, and decide if a file in the copy is the case's own result.

This module needs Python >= 3.6 and the standard library only, because step.py uses it on nodes. collect.py uses it on
the controller.
"""

import errno
import os
import shutil
import stat
import time
from pathlib import Path

# Snakemake puts this file into each directory that is an output.
TIMESTAMP = ".snakemake_timestamp"
# Times of files are compared with this tolerance (ns), because they lose digits on the way from a node.
TOLERANCE = 10 * 10**6


def remove(path):
    """Remove the file or directory at a path, if there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        try:
            shutil.rmtree(path)
        except PermissionError:
            os.chmod(path, 0o700)
            for folder, folders, _ in os.walk(path):
                for name in folders:
                    if not os.path.islink(os.path.join(folder, name)):
                        os.chmod(os.path.join(folder, name), 0o700)
            shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def copy_tree(source, target):
    """Replace `target` by a fresh copy of a directory. An error leaves no part of a copy behind.

    Links stay links. A link that leads into the tree leads to the same place in the copy, so that nothing that is
    written through it changes the original. A link that leads out of the tree still leads to the same place.
    """
    part = beside(target)
    remove(part)
    try:
        shutil.copytree(source, part, symlinks=True, ignore=shutil.ignore_patterns(TIMESTAMP), copy_function=copy_file)
        root = os.path.realpath(source)
        for folder, folders, files in os.walk(part):
            # A case has to be able to write to its directories, also if those of the template are read-only.
            os.chmod(folder, os.stat(folder).st_mode | 0o700)
            origin = os.path.normpath(os.path.join(root, os.path.relpath(folder, part)))
            for name in folders + files:
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    old, new = os.readlink(path), link_in_copy(root, origin, os.readlink(path), folder)
                    if new != old:
                        os.unlink(path)
                        os.symlink(new, path)
        remove(target)
        os.rename(part, target)
    except shutil.Error as error:
        why = "; ".join(str(reason) for _, _, reason in error.args[0][:3])
        raise OSError(errno.EIO, f"{source} cannot be copied: {why}") from None
    finally:
        remove(part)


def beside(path):
    """Return a temporary name in the same directory. No case can have this name."""
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.part")


def finish(done, source):
    """Make DONE as a copy of a file, or from text. It appears when it is complete."""
    part = beside(done)
    try:
        if isinstance(source, Path):
            shutil.copyfile(str(source), part)
        else:
            with Path(part).open("w") as f:
                f.write(source)
        os.replace(part, done)
    finally:
        remove(part)


def copy_file(source, target, follow_symlinks=True):
    if not stat.S_ISREG(os.stat(source).st_mode):
        raise OSError(errno.EINVAL, "it is neither a file nor a directory nor a link", source)
    shutil.copy2(source, target)
    seconds = time.time()
    if os.stat(target).st_mtime > seconds:
        # A file with a time in the future would look as if the case had made it.
        os.utime(target, (seconds - 1, seconds - 1))
    return target


def link_in_copy(root, origin, text, folder):
    """Return the text of a link in a copy. `text` is that of the original link in the directory `origin` of `root`."""
    there = os.path.join(origin, text)
    # `step` is the next step of the link, because links to links stay. `..` is the parent of the link's target.
    name = os.path.basename(there)
    step = os.path.realpath(there) if name in ("", ".", "..") else os.path.join(real_parent(there), name)
    for leads_to in (step, os.path.realpath(there)):
        if os.path.commonpath([root, leads_to]) == root:
            return os.path.relpath(leads_to, origin)
    return text if os.path.isabs(text) else os.path.relpath(step, os.path.realpath(folder))


def real_parent(path):
    return os.path.realpath(os.path.dirname(path))


def present(directory):
    """Return the earliest and the latest present time (ns), because a file server's clock may differ from ours."""
    times = [int(time.time() * 1e9)]
    probe = os.path.join(directory, f".harbor-{os.getpid()}")
    try:
        with Path(probe).open("wb"):
            times.append(os.stat(probe).st_mtime_ns)
        os.unlink(probe)
    except OSError:
        # The case may have made its directory read-only, or the disk is full.
        pass
    return min(times), max(times)


def no_result(directory, name, times, posted=None):
    """Return why the file `name` of a case's directory is not the case's own result, or "" if it is.

    `times` holds when the case's commands began and ended. It is empty if this is not known. `posted` is when the
    post-processor began, if it has just run, because the result of an earlier post-processor does not count.
    """
    path, home = os.path.join(directory, name), os.path.realpath(directory)
    real = os.path.realpath(path)
    if not os.path.lexists(path):
        return "there is no such file"
    if os.path.commonpath([home, real]) != home:
        return f"it is a link that leads out of the case's directory, to {real}"
    if not os.path.isfile(path):
        return "it is a directory" if os.path.isdir(path) else "it is no file"
    if not times:
        return ""
    made = os.stat(path).st_mtime_ns
    if older(made, times["began"]):
        return "it is older than the case: it was in the template, or was copied with its time, and no command wrote it"
    if posted and older(made, posted) and older(times["ended"], made):
        return "an earlier run of `post` has left it, and this one has not written it"
    return ""


def older(one, other):
    """Return True if a time (ns) is before another. Some file systems keep only whole seconds."""
    if one % 10**9 == 0 or other % 10**9 == 0:
        return one // 10**9 < other // 10**9
    return one + TOLERANCE < other
