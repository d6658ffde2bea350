"""The spool: the record, the output and the log of each attempt, on the node's own disk."""

import errno
import json
import os
import signal
import stat
import sys
import time

from harbor_processes import (
    BOOT_ID,
    TICKS,
    Look,
    born,
    kill_all,
    kill_group,
    proc_stat,
    read_file,
)
from harbor_progress import Follower
from harbor_wire import Fatal

TAIL = 4096
BLOCK = 4096
# What is added to a record until its job has ended: pid, born, reason, code.
ENDING = 512
# Seconds between the end of one script of an attempt and the start of the next, at most.
NEXT_STEP = 5.0
# An attempt's files in the spool are BASE plus these. No directory each: making one is the dearest thing ext4 does.
RECORD = ".job"
OUTPUT = ".out"
SCRIPT = ".sh"


def append_json(path, value, room=0):
    """One line in one write: it is there whole, or (a power cut) does not parse and counts as absent. `room`: so many
    bytes can follow in the block that the disk gave to it, even if the disk is full by then.
    """
    data = json.dumps(value).encode("ascii") + b"\n"
    left = -len(data) % BLOCK
    if left < room:
        data += b"\n" * (left + 1)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)


NUMBER = (int, float)
TYPES = {
    "pid": int, "born": str, "keepers": list, "steps": list, "scripts": int, "code": int, "start": NUMBER,
    "end": NUMBER, "runtime": NUMBER, "reason": str, "log": str, "exit": dict, "meta": dict, "keeper": list,
    "part": str,
}  # fmt: skip


def read_record(path):
    """What the lines of a record say together; lines that are not whole count as absent, and so do values that are not
    what they are for.
    """
    found = {}
    for line in read_file(path).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(value)
    return {name: value for name, value in found.items() if isinstance(value, TYPES.get(name, object))}


def remove_files(base):
    """All files of an attempt."""
    for suffix in (RECORD, OUTPUT, SCRIPT):
        try:
            os.unlink(base + suffix)
        except OSError:
            pass


def private_directory(path):
    """Make or check a directory that only we can use: /var/tmp belongs to everybody."""
    try:
        if not os.path.lexists(path):
            os.makedirs(path, 0o700, exist_ok=True)
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise Fatal("scratch", "scratch %s is not a directory (or it is a link)" % path)
        if found.st_uid != os.getuid():
            raise Fatal("scratch", "scratch %s belongs to user %d" % (path, found.st_uid))
        if stat.S_IMODE(found.st_mode) & 0o077:
            os.chmod(path, 0o700)
        trial = os.path.join(path, ".trial.%d" % os.getpid())
        try:
            with open(trial, "wb") as f:
                f.write(b"x")
        finally:
            if os.path.lexists(trial):
                os.unlink(trial)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise Fatal("scratch", "scratch %s cannot be used: %s" % (path, error.strerror or error))
        # What is in it can still be read, and there may be room later.
        if not os.path.isdir(path):
            raise Fatal("full", "no room to make scratch %s" % path)
    return path


class Record:
    """One attempt in the spool, as this agent knows it."""

    def __init__(self, base, job, attempt, info):
        self.base = base
        self.job = job
        self.attempt = attempt
        self.info = info
        self.pid = info.get("pid")
        self.spec = None
        self.steps = list(info.get("steps") or [])
        self.started = info.get("start", 0.0)
        self.ended = None  # the exit message, while it cannot be sent yet
        self.exit = info.get("exit")
        self.kept = info.get("kept") or None  # whether the output is where the controller wants it
        self.reason = info.get("reason")
        self.kill_at = None
        self.deadline = None
        self.ooms = 0
        self.progress = None
        self.told = None
        self.told_at = 0.0
        self.grew = False
        self.word_left = False
        self.nice = True
        self.peak = 0.0
        # When its first process began, in ticks since boot; 0: before anything that is left of it.
        self.since = int(self.birth()) if info.get("scripts", 1) == 1 and self.birth().isdigit() else 0
        self.follower = Follower(info.get("progress"))

    @property
    def key(self):
        return "%s#%d" % (self.job, self.attempt)

    def birth(self):
        return self.info.get("born") or ""

    @property
    def runs(self):
        return self.exit is None and self.ended is None

    @property
    def mine(self):
        """Whether we have started it, and can start what follows."""
        return self.spec is not None

    def exists(self):
        """(parent, born) while its process is there, if only as a zombie: a pid alone may be somebody else's by now."""
        found = born(self.pid) if self.info.get("boot_id") == BOOT_ID and isinstance(self.pid, int) else None
        return found if found and found[1] == self.info.get("born") else None

    def alive(self):
        """Whether it runs, and under the agent that started it or its guardian: they will see how it ends."""
        found = self.exists()
        return found is not None and found[0] in (self.info.get("keepers") or [])

    def lacks_pid(self):
        """Whether its agent was killed between its start and the note of its pid."""
        return self.pid is None and self.exit is None and self.reason != "lost" and self.info.get("boot_id") == BOOT_ID

    def find(self, look):
        """Complete it with the session leader that carries its key, or with what was noted meanwhile. The look's table
        may be older than the key: a process gets its session and its environment in between.
        """
        stats = [(pid, proc_stat(pid)) for pid in look.carrying(self.key)]
        leaders = [pid for pid, found in stats if found is not None and found[2] == pid]
        self.info.update(read_record(self.base + RECORD))
        self.pid = self.info.get("pid")
        if self.pid is None and leaders:
            self.pid = leaders[0]
            self.note_process()

    def note_process(self):
        found = born(self.pid) if self.pid is not None else None
        if found is not None:
            self.add(pid=self.pid, born=found[1])

    def done(self):
        """Whether its last script has ended, or one that failed; several are started one after the other."""
        code, steps = self.info.get("code"), self.info.get("steps") or []
        return code is not None and (code != 0 or len(steps) + 1 >= self.info.get("scripts", 1))

    def over(self):
        """Read again what became of an attempt whose process is gone. False if the agent that started it goes on."""
        path = self.base + RECORD
        self.info.update(read_record(path))
        self.pid = self.info.get("pid")
        scripts, steps = self.info.get("scripts", 1), self.info.get("steps") or []
        if self.alive():
            return False
        if scripts == 1 or self.info.get("code") or self.info.get("reason") or len(steps) == scripts:
            return True
        try:
            return time.time() - os.stat(path).st_mtime > NEXT_STEP
        except OSError:
            return True

    def add(self, **facts):
        """Append to the record on disk. One that is full must not keep the controller from hearing of it."""
        self.info.update(facts)
        try:
            append_json(self.base + RECORD, facts)
        except OSError:
            pass

    def begin_step(self, pid):
        """A script of it runs."""
        self.pid = pid
        self.peak = 0.0
        self.note_process()
        if not self.steps and self.birth().isdigit():
            self.since = int(self.birth())

    def sees(self, mb):
        """One of its processes has so much memory. Right after its start a process is not what it will be."""
        if time.time() - self.started > 0.1:
            self.peak = max(self.peak, mb)

    def add_step(self, code, usage, own_peak):
        """What its script has used. `own_peak`: ours in MiB. The kernel counts it as the script's, whose process was
        ours before; what is not above that is the most that we have seen.
        """
        kib = 1048576.0 if sys.platform == "darwin" else 1024.0
        peak = usage.ru_maxrss / kib
        if 0 < self.peak and peak <= own_peak:
            peak = min(peak, self.peak)
        self.steps.append({
            "code": code, "start": self.started, "end": time.time(), "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss_mb": peak, "in_mb": usage.ru_inblock / 2048.0,
            "out_mb": usage.ru_oublock / 2048.0,
        })  # fmt: skip
        if self.info.get("scripts", 1) > 1:
            self.add(steps=self.steps)

    def noted_at(self):
        """When something was last noted of it."""
        try:
            return os.stat(self.base + RECORD).st_mtime
        except OSError:
            return time.time()

    def age(self):
        """Seconds since its process started, by the clock that nobody sets where there is one."""
        found, up = proc_stat(self.pid), read_file("/proc/uptime").split()
        return float(up[0]) - found[4] / float(TICKS) if found and up else max(0.0, time.time() - self.started)

    def holds(self):
        """Whether its pid is its own still: it has not been waited for, or it is the process that was noted."""
        return (self.mine and self.runs) or self.exists() is not None

    def members(self, look):
        """Its processes. A pid that belongs to another process by now says nothing: then only its key does."""
        holds = self.holds()
        found = look.family(self.pid if holds else None, self.key if self.reason or not holds else None)
        return found | {self.pid} if holds else found

    def signal(self, number, look):
        """A signal for all of its processes: its group at once, and whatever has left that."""
        members = self.members(look)
        if self.holds():
            members = {pid for pid in members if look.table.get(pid, (0, self.pid))[1] != self.pid}
            kill_group(self.pid, number)
        kill_all(members, number)

    def end(self, reason, grace):
        """TERM to all of the job's processes; the agent kills what is left after `grace` seconds."""
        if self.reason is None:
            self.reason = reason
            self.add(reason=reason)
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace
            look = Look()
            self.signal(signal.SIGTERM, look)
            self.signal(signal.SIGCONT, look)

    def tail(self):
        """The last of its output."""
        try:
            with open(self.base + OUTPUT, "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - TAIL))
                return f.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def look(self):
        """Read what the job has written since; remember progress."""
        self.grew = self.follower.read(self.base + OUTPUT) or self.grew
        self.progress = self.follower.progress
        if self.follower.slow and self.info.get("progress"):
            self.add(progress=None)
