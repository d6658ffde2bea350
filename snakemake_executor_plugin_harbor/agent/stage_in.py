"""Makes the directory of an attempt on a node that does not have the working directory, with the files of the job."""

import os

from harbor_contents import Changed, NoRoom
from harbor_stage_dir import remove_tree

FILE, WRITABLE, DIRECTORY, LINK = "fwdl"


class Entry:
    """One file, directory or symbolic link. `path` is relative to the attempt's directory, as bytes.

    A `writable` file is a copy that the job may change. `target` is that of a link.
    """

    def __init__(self, path, kind, mode=0o600, mtime=0, size=0, sha="", target=""):
        self.path = path.encode("utf-8", "surrogateescape")
        self.kind = kind
        self.mode = mode
        self.mtime = mtime
        self.size = size
        self.sha = sha
        self.target = target.encode("utf-8", "surrogateescape")
        self.writable = kind == WRITABLE
        parts = self.path.split(b"/")
        if not self.path or b"\0" in self.path or {b"", b".", b".."} & set(parts):
            raise ValueError("a path that leads out of the directory: %r" % (path,))

    def variant(self):
        """Return the name of the file that the cache has for this mode and modification time."""
        return b"%o.%d" % (self.mode, self.mtime)

    @property
    def name(self):
        return self.path.decode("utf-8", "surrogateescape")


def put(stream, contents, base, count):
    """Make the directory `base` and receive what the node lacks. The last line that is sent says how it went."""
    entries = [Entry(*stream.line()) for _ in range(count)]
    answer = {"done": True}
    try:
        missing = make(contents, base, entries)
        contents.make_room(sum(group[0].size for group in missing.values()))
        offers = [[group[0].sha, contents.offset(group[0])] for group in missing.values()]
    except (OSError, NoRoom) as error:
        missing, offers, answer = {}, [], failure(error)
    stream.send_line({"need": offers})
    stream.flush()
    for sha, offset in offers:
        group = missing[sha]
        try:
            contents.receive(group[0], offset, stream.pieces())
            for entry in group:
                if not contents.provide(entry, os.path.join(base, entry.path)):
                    raise Changed("its content was deleted from the cache meanwhile")
        except (OSError, NoRoom, Changed) as error:
            answer = dict(failure(error), path=group[0].name)
    if "error" in answer:
        remove_tree(base)
    else:
        set_directory_times(base, entries)
    stream.send_line(answer)
    stream.flush()


def make(contents, base, entries):
    """Make everything whose content is here. Returns the other entries as {sha: [Entry]}."""
    remove_tree(base)
    os.makedirs(base, 0o700)
    made, missing = {base}, {}
    for entry in entries:
        target = os.path.join(base, entry.path)
        parent = target if entry.kind == DIRECTORY else os.path.dirname(target)
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        if entry.kind == LINK:
            os.symlink(entry.target, target)
        elif entry.kind != DIRECTORY and (entry.sha in missing or not contents.provide(entry, target)):
            missing.setdefault(entry.sha, []).append(entry)
    return missing


def set_directory_times(base, entries):
    """Give the directories their modes and times, the inner ones first."""
    for entry in sorted((entry for entry in entries if entry.kind == DIRECTORY), key=lambda entry: entry.path)[::-1]:
        if entry.mtime:
            os.chmod(os.path.join(base, entry.path), entry.mode | 0o700)
            os.utime(os.path.join(base, entry.path), ns=(entry.mtime, entry.mtime))


def failure(error):
    kind = "disk" if isinstance(error, NoRoom) else "changed" if isinstance(error, Changed) else "node"
    return {"error": kind, "message": str(error)}
