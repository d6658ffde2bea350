"""The agent: the one file of harbor that runs on a node. Python >= 3.6, standard library only, imports nothing of ours.

It is streamed over the connection. Each job has a guardian: a shell that leads the job's session, runs its script
with the output in the spool, and appends the exit code to the job's record there. Guardians need nobody: they live on
when the agent, the SSH daemon or the controller dies. An agent that loses its controller stays until its jobs have
ended, to enforce their limits; the next agent finds the records. Messages are JSON objects, one a line (controller:
core/protocol.py). Single-threaded: one selector; what is polled is the growth of output files.
"""

import binascii
import ctypes
import errno
import json
import os
import pwd
import re
import select
import selectors
import signal
import stat
import sys
import time

# Small on purpose: starting costs memory and time on every node. So no subprocess, shutil, tempfile, socket.

VERSION = 1
MAX_LINE = 1 << 20
MAX_UNSENT = 8 << 20
LOOK_EVERY = 0.25
FIRST_LOAD = 0.2
PROGRESS_EVERY = 0.5
ALIVE_EVERY = 10.0
READ_MAX = 1 << 20
TAIL = 4096
# An attempt's files in the spool are BASE plus these. No directory each: making one is the dearest thing ext4 does.
RECORD = ".job"
OUTPUT = ".out"
SCRIPT = ".sh"
KEEP_DAYS = 14
TRASH_AFTER = 5.0
TRASH_MAX = 20000
LONG_SCRIPT = 100000
GRACE = 5.0
# $1 record, $2 shell, $3 script, $4 directory, $5 "-c" or nothing. The traps keep the guardian, and are not inherited.
# A shell of 0.6 ms, where a fork of this Python took 2.5 (2,000 jobs on 2 cores: 14 s of CPU instead of 5).
GUARDIAN = (
    "trap : HUP INT TERM USR1 USR2; "
    'printf \'{"pid":%d}\\n\' $$ >>"$1"; '
    'cd "$4" && "$2" $5 "$3"; '
    'c=$?; printf \'{"code":%d}\\n\' $c >>"$1"; exit $c'
)
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
MARKER = re.compile(rb"\x02\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]+(?:\.[0-9]+)?)\s*\x03")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class Fatal(Exception):
    """The node cannot be used; `code` says in one word why."""

    def __init__(self, code, message):
        Exception.__init__(self, message)
        self.code = code


def read_file(path, default=""):
    try:
        with open(path, "rb") as f:
            return f.read().decode("utf-8", "replace")
    except OSError:
        return default


def append_json(path, value):
    """One line in one write: it is there whole, or (a power cut) does not parse and counts as absent."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(value).encode("ascii") + b"\n")
    finally:
        os.close(fd)


def read_record(path):
    """What the lines of a record say together; lines that are not whole count as absent."""
    found = {}
    for line in read_file(path).splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(value)
    return found


def output_of(argv, timeout):
    """What a program prints; "" if it is not there, fails or takes longer than `timeout` seconds."""
    program = which(argv[0])
    if program is None:
        return ""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(into, 1)
            os.execv(program, argv)
        finally:
            os._exit(127)
    os.close(into)
    data, deadline = b"", time.monotonic() + timeout
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(out, 65536)
        if not chunk:
            break
        data += chunk
    else:
        os.kill(pid, signal.SIGKILL)
        data = b""
    os.close(out)
    os.waitpid(pid, 0)
    return data.decode("utf-8", "replace")


def which(name):
    """The path of a program; None if PATH has none of that name."""
    if "/" in name:
        return name
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def remove_files(base):
    """All files of an attempt."""
    for suffix in (RECORD, OUTPUT, SCRIPT):
        try:
            os.unlink(base + suffix)
        except OSError:
            pass


def find_boot_id():
    found = read_file("/proc/sys/kernel/random/boot_id").strip()
    return found or output_of(["sysctl", "-n", "kern.boottime"], 5).strip() or "unknown"


# --- processes ------------------------------------------------------------------------------------------------


def proc_stat(pid):
    """(ppid, pgrp, session, cpu seconds with reaped children, start ticks), or None."""
    raw = read_file("/proc/%s/stat" % pid)
    try:
        fields = raw[raw.rindex(")") + 2 :].split()
        cpu = sum(int(n) for n in fields[11:15]) / float(TICKS)
        return int(fields[1]), int(fields[2]), int(fields[3]), cpu, int(fields[19])
    except (ValueError, IndexError):
        return None


def all_processes():
    """{pid: proc_stat} of every process that we may see; empty without /proc."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    found = ((pid, proc_stat(pid)) for pid in pids)
    return {pid: stat_ for pid, stat_ in found if stat_ is not None}


def family(guardian, key, table):
    """Processes of a job, without its guardian: its session, its descendants, and those that carry its key.

    Leaving the session (setsid, a double fork) does not help: the guardian is the subreaper of its descendants, and
    where that is not to be had, HARBOR_JOB_KEY in the environment tells.
    """
    children = {}
    for pid, found in table.items():
        children.setdefault(found[0], []).append(pid)
    members = {pid for pid, found in table.items() if found[2] == guardian}
    stack = [guardian]
    while stack:
        for child in children.get(stack.pop(), ()):
            if child not in members:
                members.add(child)
            stack.append(child)
    if key is not None:
        wanted = b"HARBOR_JOB_KEY=" + key.encode()
        for pid in table:
            if pid not in members:
                try:
                    with open("/proc/%d/environ" % pid, "rb") as f:
                        if wanted in f.read().split(b"\0"):
                            members.add(pid)
                except OSError:
                    pass
    members.discard(guardian)
    members.discard(os.getpid())
    return members


def native(message):
    """A message with its paths as this Python's file functions want them: under LC_ALL=C the locale is not UTF-8."""
    for name in ("cwd", "log", "shell", "scratch", "needs", "probe", "same"):
        if isinstance(message, dict) and name in message:
            message[name] = native_text(message[name])
    return message


def native_text(value):
    if isinstance(value, str):
        return os.fsdecode(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list):
        return [native_text(item) for item in value]
    if isinstance(value, dict):
        return {name: native_text(item) for name, item in value.items()}
    return value


def kill_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            pass


def oom_count():
    """OOM kills that the kernel has counted, here and in our cgroup."""
    total = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        for line in read_file(path).splitlines():
            if line.startswith("oom_kill "):
                total += int(line.split()[1])
    return total


def format_exception():
    import traceback

    return traceback.format_exc()


def become_subreaper():
    """Orphans of jobs become our children instead of init's: a job's daemons can then be found. Linux only."""
    try:
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def start_process(program, argv, env, output):
    """A child in a session of its own, stdin from /dev/null, stdout and stderr appended to `output`; its pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if hasattr(os, "POSIX_SPAWN_OPEN"):
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            # vfork: 0.5 ms whatever our size.
            return os.posix_spawn(program, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=RESET)
        except NotImplementedError:
            pass
    trouble, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in RESET:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(os.open(output, flags, 0o600), 1)
            os.dup2(1, 2)
            os.execve(program, argv, env)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    number = os.read(trouble, 16)
    os.close(trouble)
    if number:
        os.waitpid(pid, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return pid


BOOT_ID = ""
SUBREAPER = False
UMASK = 0o022
ODD_NAME = re.compile(rb"[^A-Za-z0-9_]|^[0-9]")
# Python ignores PIPE and XFSZ; what is ignored would be inherited.
RESET = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]


# --- what the node is and how busy it is ------------------------------------------------------------------------


def cgroup_directories():
    """Our cgroup's directories, innermost first: v2, then v1's cpu and memory controllers."""
    found = []
    for line in read_file("/proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        if parts[1] == "":
            base = "/sys/fs/cgroup"
        elif set(parts[1].split(",")) & {"cpu", "memory"}:
            base = "/sys/fs/cgroup/" + parts[1]
        else:
            continue
        path = parts[2].rstrip("/")
        while True:
            found.append(base + path)
            if not path:
                break
            path = path.rpartition("/")[0]
    return found


def number_in(path):
    try:
        return int(read_file(path).split()[0])
    except (ValueError, IndexError):
        return None


def cpu_quota():
    """(cores that the cgroup allows, its directory), or (None, None)."""
    best, where = None, None
    for directory in cgroup_directories():
        words = read_file(directory + "/cpu.max").split()
        quota, period = number_in(directory + "/cpu.cfs_quota_us"), number_in(directory + "/cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdigit():
            quota, period = int(words[0]), int(words[1])
        if quota is not None and quota > 0 and period:
            cores = float(quota) / period
            if best is None or cores < best:
                best, where = cores, directory
    return best, where


def affinity():
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return list(range(os.cpu_count() or 1))


def memory():
    """(total, available) MiB, as far as our cgroups let us have them."""
    found = {}
    for line in read_file("/proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) // 1024
    total = found.get("MemTotal:")
    available = found.get("MemAvailable:", found.get("MemFree:"))
    if total is None or available is None:
        try:
            import psutil

            virtual = psutil.virtual_memory()
            return virtual.total >> 20, virtual.available >> 20
        except ImportError:
            pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
            return pages, None
    for directory in cgroup_directories():
        limit = number_in(directory + "/memory.max") or number_in(directory + "/memory.limit_in_bytes")
        used = number_in(directory + "/memory.current") or number_in(directory + "/memory.usage_in_bytes")
        if limit is not None and used is not None and limit >> 20 < total:
            cache = 0
            for line in read_file(directory + "/memory.stat").splitlines():
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    cache = int(line.split()[1])
            total = limit >> 20
            available = min(available, max(0, limit - used + cache) >> 20)
    return total, available


def nvidia(query):
    """Rows of nvidia-smi, as lists of words; empty where there is none."""
    text = output_of(["nvidia-smi", "--query-gpu=" + query, "--format=csv,noheader,nounits"], 10)
    return [[word.strip() for word in line.split(",")] for line in text.splitlines() if line.strip()]


def users():
    text = output_of(["who"], 2)
    return sorted({line.split()[0] for line in text.splitlines() if line.split()})


class Meter:
    """Busy cores between two samples, and the part of them that is ours."""

    def __init__(self):
        self.cpus = affinity()
        quota, self.quota_directory = cpu_quota()
        if quota is None or quota >= len(self.cpus):
            self.quota_directory = None
        self.cores = len(self.cpus) if self.quota_directory is None else max(1, int(quota))
        self.counted = {}
        self.last = self.busy_seconds()
        self.last_own = self.own_seconds()
        self.last_at = time.monotonic()
        self.users, self.users_at = [], -1e9

    def busy_seconds(self):
        if self.quota_directory is not None:
            for line in read_file(self.quota_directory + "/cpu.stat").splitlines():
                if line.startswith("usage_usec "):
                    return int(line.split()[1]) / 1e6
            usage = number_in(self.quota_directory + "/cpuacct.usage")
            if usage is not None:
                return usage / 1e9
        wanted = {"cpu%d" % n for n in self.cpus}
        total = 0.0
        seen = False
        for line in read_file("/proc/stat").splitlines():
            words = line.split()
            if words and words[0] in wanted:
                seen = True
                ticks = [int(n) for n in words[1:9]]
                total += (sum(ticks) - ticks[3] - (ticks[4] if len(ticks) > 4 else 0)) / float(TICKS)
        return total if seen else None

    @staticmethod
    def own_seconds():
        """CPU of this process and of all that it has reaped: guardians with everything that they reaped."""
        return sum(os.times()[:4])

    def sample(self, running):
        """(busy, ours by key, ended) in cores since the last sample. `running`: {key: guardian pid}."""
        now = time.monotonic()
        span = max(1e-3, now - self.last_at)
        busy_now, own_now = self.busy_seconds(), self.own_seconds()
        if busy_now is None or self.last is None:
            busy = min(os.getloadavg()[0], self.cores)
        else:
            busy = max(0.0, busy_now - self.last) / span
        ours = {}
        counted = {}
        if running:
            table = all_processes()
            for key, pid in running.items():
                members = family(pid, None, table) | {pid}
                counted[key] = sum(table[m][3] for m in members if m in table)
                ours[key] = max(0.0, counted[key] - self.counted.get(key, 0.0)) / span
        before = sum(seconds for key, seconds in self.counted.items() if key not in counted)
        ended = max(0.0, own_now - self.last_own - before) / span
        self.last, self.last_own, self.last_at, self.counted = busy_now, own_now, now, counted
        return min(busy, len(self.cpus)), {k: round(v, 3) for k, v in ours.items() if v > 0}, ended

    def who(self):
        if time.monotonic() - self.users_at > 30:
            self.users, self.users_at = users(), time.monotonic()
        return self.users


# --- the spool ------------------------------------------------------------------------------------------------


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
        with open(trial, "wb") as f:
            f.write(b"x")
        os.unlink(trial)
    except OSError as error:
        raise Fatal("scratch", "scratch %s cannot be used: %s" % (path, error.strerror or error))
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
        self.steps = []
        self.exit = info.get("exit")
        self.reason = info.get("reason")
        self.kill_at = None
        self.deadline = None
        self.ooms = 0
        self.offset = 0
        self.rest = b""
        self.progress = None
        self.told = None
        self.told_at = 0.0
        self.grew = False
        try:
            self.pattern = re.compile(info["progress"].encode("utf-8")) if info.get("progress") else None
        except re.error:
            self.pattern = None

    @property
    def key(self):
        return "%s#%d" % (self.job, self.attempt)

    @property
    def mine(self):
        """Whether the guardian is our child."""
        return self.spec is not None

    def alive(self):
        """Whether the guardian of an earlier agent still is that process: a pid alone may be somebody else's by now."""
        if self.info.get("boot_id") != BOOT_ID or not isinstance(self.pid, int):
            return False
        wanted = b"HARBOR_JOB_KEY=" + self.key.encode()
        return wanted in read_file("/proc/%d/environ" % self.pid).encode().split(b"\0")

    def add(self, **facts):
        """Append to the record on disk."""
        self.info.update(facts)
        append_json(self.base + RECORD, facts)

    def members(self, table):
        return family(self.pid, self.key if self.reason else None, table)

    def end(self, reason, grace):
        """TERM to all of the job's processes; the agent kills what is left after `grace` seconds."""
        if self.reason is None:
            self.reason = reason
            self.add(reason=reason)
        if self.kill_at is None:
            self.kill_at = time.monotonic() + grace
            members = self.members(all_processes())
            kill_all(members, signal.SIGTERM)
            kill_all(members, signal.SIGCONT)

    def keep_log(self):
        """The output goes where the controller wants it, if that directory is here: linked, else copied and renamed.
        Returns (kept, the last of the output).
        """
        log, tail = self.info.get("log"), ""
        try:
            with open(self.base + OUTPUT, "rb") as f:
                f.seek(max(0, os.fstat(f.fileno()).st_size - TAIL))
                tail = f.read().decode("utf-8", "replace")
            if not log:
                return False, tail
            os.makedirs(os.path.dirname(log), exist_ok=True)
            if os.path.lexists(log):
                os.unlink(log)
            try:
                os.link(self.base + OUTPUT, log)
            except OSError:
                part = "%s.%d.part" % (log, os.getpid())
                with open(self.base + OUTPUT, "rb") as f, open(part, "wb") as into:
                    for data in iter(lambda: f.read(1 << 20), b""):
                        into.write(data)
                os.rename(part, log)
            os.chmod(log, 0o666 & ~UMASK)
            return True, tail
        except OSError:
            return False, tail

    def look(self):
        """Read what the job has written since; remember progress. Bounded: a flood is skipped to its end."""
        try:
            with open(self.base + OUTPUT, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                if size <= self.offset:
                    return
                if size - self.offset > READ_MAX:
                    self.offset, self.rest = size - READ_MAX, b""
                f.seek(self.offset)
                data = self.rest + f.read(READ_MAX)
                self.offset = f.tell()
        except OSError:
            return
        self.grew = True
        found = None
        if self.pattern is None:
            for match in MARKER.finditer(data):
                found = match
            cut = data.rfind(b"\x02", -64)
            self.rest = data[cut:] if cut >= 0 and b"\x03" not in data[cut:] else b""
        else:
            end = data.rfind(b"\n") + 1
            for match in self.pattern.finditer(data[:end]):
                found = match
            self.rest = data[end:][-65536:]
        if found is not None:
            try:
                self.progress = [float(found.group(1)), float(found.group(2))]
            except (ValueError, TypeError, IndexError):
                pass


# --- the agent ------------------------------------------------------------------------------------------------


class Agent:
    """Answers the controller. Every `on_X` is the message of type X."""

    def __init__(self, inp, out):
        self.inp = inp
        self.out = out
        self.buffer = b""
        self.skipping = False
        self.unsent = bytearray()
        self.records = {}
        self.leftovers = []
        self.trash = []
        self.trash_at = 0.0
        self.next_load = 0.0
        self.next_look = 0.0
        self.alive_at = 0.0
        self.finished = False
        self.ooms = oom_count()
        self.selector = selectors.DefaultSelector()

    # --- beginning ---

    def begin(self):
        """Read `welcome`, check the node, list what the spool holds."""
        welcome = self.read_welcome()
        if welcome.get("v") != VERSION:
            raise Fatal("protocol", "the controller speaks version %r, this agent %d" % (welcome.get("v"), VERSION))
        if sys.platform.startswith(("win", "cygwin", "msys")):
            raise Fatal("platform", "nodes run Linux or macOS; this one is %s" % sys.platform)
        self.welcome = welcome
        global UMASK
        UMASK = int(welcome.get("umask", 0o022))
        os.umask(UMASK)
        for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"):
            os.environ.pop(name, None)
        # What a shell on the way here may have dropped: dash does so with functions that bash exports.
        for name, value in (welcome.get("environment") or {}).items():
            os.environb[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
        # Debian's bash sources ~/.bashrc for every `bash -c` under sshd (SHLVL < 2): 100-200 ms a job.
        os.environ["SHLVL"] = "1"
        self.scratch = private_directory(welcome.get("scratch") or "/var/tmp/harbor-%d" % os.getuid())
        self.spool = private_directory(os.path.join(self.scratch, "spool"))
        self.every = max(0.1, float(welcome.get("load_every", 1.0)))
        self.meter = Meter()
        self.load_records()
        self.send(self.hello())
        for record in list(self.records.values()):
            self.send(self.known(record))
        self.send({"t": "ready"})
        # A shorter first sample would measure nothing: the kernel counts in steps of 10 ms.
        self.next_load = time.monotonic() + FIRST_LOAD

    def read_welcome(self):
        line = b""
        while not line.endswith(b"\n"):
            data = os.read(self.inp, 1)
            if not data:
                raise SystemExit(0)
            line += data
            if len(line) > MAX_LINE:
                raise Fatal("protocol", "the first line is too long")
        try:
            return native(json.loads(line.decode("utf-8")))
        except ValueError:
            raise Fatal("protocol", "the first line is no welcome")

    def hello(self):
        total, _ = memory()
        probe = self.welcome.get("probe") or {}
        shared = bool(probe) and read_file(probe.get("file", "")).strip() == probe.get("token")
        same = []
        for path, inode, mtime in self.welcome.get("same") or []:
            try:
                found = os.stat(path)
            except (OSError, ValueError):
                continue
            if found.st_ino == inode and found.st_mtime_ns == mtime:
                same.append(path)
        gpus = [
            {"index": int(row[0]), "name": row[1], "mem_mb": int(float(row[2]))}
            for row in nvidia("index,name,memory.total")
            if len(row) == 3 and row[0].isdigit()
        ]
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            user = str(os.getuid())
        tmpdir = next((os.environ[n] for n in ("TMPDIR", "TEMP", "TMP") if os.environ.get(n)), "/tmp")
        warnings = []
        if not os.path.exists("/proc/stat"):
            warnings.append("no /proc here: the load is the load average")
        if not SUBREAPER:
            warnings.append("no subreaper here: a job's daemons are found by their environment only")
        if re.search(
            r"^\s*KillUserProcesses\s*=\s*(yes|true|1|on)", read_file("/etc/systemd/logind.conf"), re.M | re.I
        ):
            if not os.path.exists("/var/lib/systemd/linger/" + user):
                warnings.append("systemd kills jobs when the connection ends; type: loginctl enable-linger " + user)
        return {
            "t": "hello", "v": VERSION, "agent": os.getpid(), "python": "%d.%d.%d" % sys.version_info[:3],
            "host": os.uname()[1], "user": user, "uid": os.getuid(), "boot_id": BOOT_ID,
            "platform": sys.platform, "cores": self.meter.cores, "mem_mb": total, "gpus": gpus,
            "scratch": self.scratch, "shared": shared, "same": same, "tmpdir": tmpdir,
            "path": os.environ.get("PATH", ""), "time": time.time(), "warnings": warnings,
        }  # fmt: skip

    def load_records(self):
        limit = time.time() - KEEP_DAYS * 86400
        for run in sorted(os.listdir(self.spool)):
            base = os.path.join(self.spool, run)
            if not NAME.match(run) or os.path.islink(base) or not os.path.isdir(base):
                continue
            for name in sorted(os.listdir(base)):
                match = re.match(r"(.+)\.([0-9]+)%s\Z" % re.escape(RECORD), name)
                if match is None or not NAME.match(match.group(1)):
                    continue
                path = os.path.join(base, name)
                info = read_record(path)
                if "boot_id" not in info or info.get("owner") != self.welcome.get("owner"):
                    # Not whole, or of another controller: its agent looks after it, and to us it is foreign load.
                    continue
                record = Record(path[: -len(RECORD)], "%s/%s" % (run, match.group(1)), int(match.group(2)), info)
                if record.exit is None and not info.get("forgotten") and not record.alive():
                    # Read again: it may have ended between the first look and the second.
                    record.info.update(read_record(path))
                    self.conclude(record, os.stat(path).st_mtime)
                if info.get("forgotten") or (record.exit is not None and record.exit.get("end", 0) < limit):
                    self.remove(record)
                    continue
                self.records[(record.job, record.attempt)] = record

    def known(self, record):
        state = "running" if record.exit is None else "exited"
        info = record.info
        return {
            "t": "known", "job": record.job, "attempt": record.attempt, "state": state, "hash": info.get("hash", ""),
            "meta": info.get("meta") or {}, "name": info.get("name", ""), "exit": record.exit,
        }  # fmt: skip

    # --- the loop ---

    def serve(self):
        os.set_blocking(self.inp, False)
        os.set_blocking(self.out, False)
        wake, poke = os.pipe()
        for fd in (wake, poke):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(poke)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(self.inp, selectors.EVENT_READ)
        self.selector.register(wake, selectors.EVENT_READ)
        while not self.finished:
            self.flush()
            for selected, _ in self.selector.select(self.pause()):
                if selected.fd == self.inp:
                    self.receive()
                elif selected.fd == wake:
                    try:
                        os.read(wake, 4096)
                    except OSError:
                        pass
            self.reap()
            self.tick(time.monotonic())

    def pause(self):
        running = [r for r in self.records.values() if r.exit is None]
        due = [self.next_load] if self.out is not None else [time.monotonic() + 1.0]
        if running or self.leftovers:
            due.append(self.next_look)
        return max(0.0, min(due) - time.monotonic())

    def receive(self):
        try:
            data = os.read(self.inp, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.part()
            return
        self.buffer += data
        while True:
            line, newline, rest = self.buffer.partition(b"\n")
            if not newline:
                if len(self.buffer) > MAX_LINE:
                    self.skipping, self.buffer = True, b""
                return
            self.buffer = rest
            if self.skipping or len(line) > MAX_LINE:
                self.skipping = False
                self.send({"t": "error", "message": "a line of more than %d bytes was dropped" % MAX_LINE})
            elif line.strip():
                self.take(line)

    def take(self, line):
        message = None
        try:
            message = native(json.loads(line.decode("utf-8")))
            handler = getattr(self, "on_" + message["t"], None) if isinstance(message["t"], str) else None
            if handler is None:
                raise ValueError("unknown type %r" % (message["t"],))
            handler(message)
        except SystemExit:
            raise
        except Exception as error:
            text = "%s: %s" % (type(error).__name__, error)
            if isinstance(message, dict) and message.get("t") == "start":
                self.refuse(message.get("job"), message.get("attempt"), "error", message=text[:500])
            else:
                self.send({"t": "error", "message": "not understood: %s" % text[:500]})

    def send(self, message):
        if self.out is None or (len(self.unsent) > MAX_UNSENT and message["t"] in ("load", "progress", "alive")):
            return
        self.unsent += json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"

    def flush(self):
        if self.out is None:
            return
        try:
            while self.unsent:
                sent = os.write(self.out, self.unsent[: 1 << 16])
                del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.part()
            return
        waits = self.out in self.selector.get_map()
        if self.unsent and not waits:
            self.selector.register(self.out, selectors.EVENT_WRITE)
        elif not self.unsent and waits:
            self.selector.unregister(self.out)

    def part(self):
        """The controller is gone. Stay for the jobs: their limits, their logs, kills that are under way."""
        if self.out is None:
            return
        for fd in (self.inp, self.out):
            if fd in self.selector.get_map():
                self.selector.unregister(fd)
            os.close(fd)
        self.out = None
        self.empty_trash()
        # stderr is the connection's as well.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        self.next_look = 0.0

    # --- messages ---

    def on_start(self, message):
        job, attempt = self.names(message)
        record = self.records.get((job, attempt))
        if record is not None:
            if record.exit is None:
                self.send({"t": "started", "job": job, "attempt": attempt, "pid": record.pid, "at": time.time()})
            else:
                self.send(dict(record.exit, t="exited"))
            return
        # The controller's path of the shell, else the node's own of that name; by the name that was given, for $0.
        shell = message.get("shell") or "/bin/sh"
        if which(shell) is None or not os.path.exists(which(shell)):
            shell = which(os.path.basename(shell)) or shell
        for path in [message["cwd"], which(shell) or shell] + list(message.get("needs") or []):
            if not os.path.exists(path):
                self.refuse(job, attempt, "missing", path=path)
                return
        base = os.path.join(self.spool, "%s.%d" % (job, attempt))
        names = ("hash", "meta", "name", "log", "cpus", "progress", "runtime")
        info = {name: message[name] for name in names if message.get(name) is not None}
        info.update(boot_id=BOOT_ID, start=time.time(), owner=self.welcome.get("owner"))
        record = Record(base, job, attempt, info)
        record.spec = dict(message, shell=shell)
        try:
            if not os.path.isdir(os.path.dirname(base)):
                os.makedirs(os.path.dirname(base), 0o700)
            # On disk before anything runs: no job without a trace.
            append_json(base + RECORD, info)
            self.spawn(record)
        except OSError as error:
            remove_files(base)
            reason = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fork"
            self.refuse(job, attempt, reason, message="%s: %s" % (reason, error))
            return
        self.records[(job, attempt)] = record
        self.send({"t": "started", "job": job, "attempt": attempt, "pid": record.pid, "at": time.time()})

    def spawn(self, record):
        """Start the guardian of a record's next script. OSError if that cannot be."""
        spec = record.spec
        script, flag = spec["scripts"][len(record.steps)].encode("utf-8", "surrogateescape"), b"-c"
        if len(script) > LONG_SCRIPT:
            # The kernel takes at most 128 KiB in one argument.
            with open(record.base + SCRIPT, "wb") as f:
                f.write(script + b"\n")
            script, flag = os.fsencode(f.name), b""
        env = dict(os.environb)
        for name, value in spec.get("env", {}).items():
            if value is None:
                env.pop(os.fsencode(name), None)
            else:
                env[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
        env[b"HARBOR_JOB_KEY"] = record.key.encode()
        # dash drops variables whose names it does not like, such as the functions that bash exports; bash keeps them.
        odd = any(ODD_NAME.search(name) for name in env)
        guardian = (which("bash") if odd else None) or "/bin/sh"
        argv = [b"harbor-guardian", b"-c", GUARDIAN.encode(), b"harbor-guardian"]
        argv += [os.fsencode(x) for x in (record.base + RECORD, spec["shell"])] + [
            script,
            os.fsencode(spec["cwd"]),
            flag,
        ]
        record.started = time.time()
        record.ooms = self.ooms
        record.pid = start_process(guardian, argv, env, record.base + OUTPUT)
        if record.deadline is None and spec.get("runtime"):
            record.deadline = time.monotonic() + float(spec["runtime"])
        try:
            # The group, not the process alone: the guardian may have started its job already.
            os.setpriority(os.PRIO_PGRP, record.pid, int(self.welcome.get("nice", 0)))
        except OSError:
            pass

    def refuse(self, job, attempt, reason, **more):
        self.send(dict(more, t="refused", job=job, attempt=attempt, reason=reason))

    def on_cancel(self, message):
        job, attempt = self.names(message)
        record = self.records.get((job, attempt))
        if record is None:
            self.send({"t": "gone", "job": job, "attempt": attempt})
        elif record.exit is not None:
            self.send(dict(record.exit, t="exited"))
        else:
            record.end("cancelled", float(message.get("grace", GRACE)))

    def on_forget(self, message):
        record = self.records.get(self.names(message))
        if record is not None and record.exit is not None:
            del self.records[(record.job, record.attempt)]
            record.add(forgotten=True)
            self.trash.append(record)
            self.trash_at = time.monotonic() + TRASH_AFTER
            if len(self.trash) > TRASH_MAX:
                self.empty_trash()

    def empty_trash(self):
        """Delete forgotten attempts, all at once and later: ext4 takes 0.3 ms to make a file while others were deleted
        within the last minutes, and a busy node makes two for each job.
        """
        for record in self.trash:
            self.remove(record)
        self.trash = []

    def on_read(self, message):
        job, attempt = self.names(message)
        record = self.records.get((job, attempt))
        if record is None:
            self.send({"t": "gone", "job": job, "attempt": attempt})
            return
        offset, size = max(0, int(message.get("offset", 0))), min(1 << 19, max(0, int(message.get("size", 65536))))
        data, whole = b"", 0
        try:
            with open(record.base + OUTPUT, "rb") as f:
                whole = os.fstat(f.fileno()).st_size
                f.seek(offset)
                data = f.read(size)
        except OSError:
            pass
        self.send({
            "t": "output", "job": job, "attempt": attempt, "offset": offset, "size": whole,
            "data": binascii.b2a_base64(data).decode("ascii").strip(),
            "eof": record.exit is not None and offset + len(data) >= whole,
        })  # fmt: skip

    def on_ping(self, message):
        self.send({"t": "pong", "n": message.get("n")})

    def on_bye(self, message):
        self.flush()
        self.part()

    @staticmethod
    def names(message):
        job, attempt = message["job"], message["attempt"]
        run, _, name = job.partition("/")
        if not NAME.match(run) or not NAME.match(name) or isinstance(attempt, bool) or not 0 < int(attempt) < 1000000:
            raise ValueError("bad job %r or attempt %r" % (job, attempt))
        return job, int(attempt)

    # --- jobs ---

    def reap(self):
        """Guardians that have ended, and orphans of jobs: we are the subreaper."""
        mine = {record.pid: record for record in self.records.values() if record.mine and record.exit is None}
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except OSError:
                return
            if pid == 0:
                return
            if pid in mine:
                self.step_ended(mine[pid], status, usage)

    def step_ended(self, record, status, usage):
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        kib = 1048576.0 if sys.platform == "darwin" else 1024.0
        record.steps.append({
            "code": code, "start": record.started, "end": time.time(), "cpu_s": usage.ru_utime + usage.ru_stime,
            "max_rss_mb": usage.ru_maxrss / kib, "in_mb": usage.ru_inblock / 2048.0,
            "out_mb": usage.ru_oublock / 2048.0,
        })  # fmt: skip
        self.sweep(record)
        if code == 0 and record.reason is None and len(record.steps) < len(record.spec["scripts"]):
            try:
                self.spawn(record)
                return
            except OSError:
                code = 126
        if os.WIFSIGNALED(status):
            # Somebody killed the guardian: what its job did is not known, and it must not go on alone.
            record.reason = record.reason or "lost"
            kill_all(family(record.pid, record.key, all_processes()), signal.SIGKILL)
        elif code == 128 + signal.SIGKILL and record.reason is None and oom_count() > record.ooms:
            record.reason = "oom"
        record.info["code"] = code
        if record.reason is not None:
            record.add(reason=record.reason, code=code)
        self.conclude(record, time.time())
        self.send(dict(record.exit, t="exited"))

    def sweep(self, record):
        """What a job leaves behind ends with it, as in a batch system."""
        guardians = {other.pid for other in self.records.values() if other.exit is None}
        left = {int(pid) for pid in read_file("/proc/self/task/%d/children" % os.getpid()).split()} - guardians
        if left or record.reason is not None:
            members = family(record.pid, record.key, all_processes())
            kill_all(members, signal.SIGKILL if record.reason else signal.SIGTERM)
            if members and record.reason is None:
                self.leftovers.append((time.monotonic() + 1.0, record.pid, record.key))

    def conclude(self, record, end):
        """The exit message of an attempt that has ended: of ours, or of an earlier agent's from its record."""
        code, reason = record.info.get("code"), record.reason
        if code is None and reason not in ("cancelled", "timeout"):
            # No exit code: the guardian was killed, or the node was rebooted.
            reason = "lost"
            if record.info.get("boot_id") == BOOT_ID and isinstance(record.pid, int):
                kill_all(family(record.pid, record.key, all_processes()), signal.SIGKILL)
        record.look()
        kept, tail = record.keep_log()
        start = record.info.get("start", end)
        record.exit = {
            "job": record.job, "attempt": record.attempt, "code": -9 if code is None else code, "reason": reason,
            "start": start, "end": end, "steps": record.steps, "tail": tail, "log": kept, "progress": record.progress,
        }  # fmt: skip
        record.spec = None

    def remove(self, record):
        remove_files(record.base)
        if not any(job.startswith(record.job.partition("/")[0] + "/") for job, _ in self.records):
            try:
                os.rmdir(os.path.dirname(record.base))
            except OSError:
                pass

    def tick(self, now):
        running = [record for record in self.records.values() if record.exit is None]
        if (running or self.leftovers) and now >= self.next_look:
            self.next_look = now + LOOK_EVERY
            self.watch(running, now)
            self.look(running, now)
        if self.trash and now >= self.trash_at:
            self.empty_trash()
        if self.out is None:
            self.finished = not running and not self.leftovers
        elif now >= self.next_load:
            self.next_load = now + self.every
            self.send(self.load({r.key: r.pid for r in running if r.exit is None}))

    def watch(self, running, now):
        """Limits, kills that are due, and guardians of earlier agents."""
        for record in running:
            if record.deadline is not None and now >= record.deadline:
                record.end("timeout", GRACE)
            if record.kill_at is not None and now >= record.kill_at:
                record.kill_at = now + 1.0
                kill_all(record.members(all_processes()), signal.SIGKILL)
            if not record.mine and not record.alive():
                record.info.update(read_record(record.base + RECORD))
                self.conclude(record, time.time())
                self.send(dict(record.exit, t="exited"))
        for due in [due for due in self.leftovers if now >= due[0]]:
            self.leftovers.remove(due)
            kill_all(family(due[1], due[2], all_processes()), signal.SIGKILL)

    def look(self, running, now):
        """Progress and signs of life, for the controller."""
        for record in running:
            record.look()
            if record.progress != record.told and now - record.told_at >= PROGRESS_EVERY:
                record.told, record.told_at = record.progress, now
                done, total = record.progress
                self.send({"t": "progress", "job": record.job, "attempt": record.attempt, "done": done, "total": total})
        if now - self.alive_at >= ALIVE_EVERY:
            self.alive_at = now
            grown = [[record.job, record.attempt] for record in running if record.grew]
            for record in running:
                record.grew = False
            if grown:
                self.send({"t": "alive", "jobs": grown})

    def load(self, running):
        self.ooms = oom_count()
        busy, ours, ended = self.meter.sample(running)
        disk = os.statvfs(self.scratch)
        return {
            "t": "load", "at": time.time(), "busy": round(busy, 3), "ours": ours, "ended": round(ended, 3),
            "load1": os.getloadavg()[0], "mem_available_mb": memory()[1],
            "disk_free_mb": disk.f_bavail * disk.f_frsize >> 20, "users": self.meter.who(),
        }  # fmt: skip


def main():
    global BOOT_ID, SUBREAPER
    inp, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    BOOT_ID = find_boot_id()
    SUBREAPER = become_subreaper()
    agent = Agent(inp, out)
    try:
        agent.begin()
        agent.serve()
    except Fatal as error:
        agent.send({"t": "fatal", "code": error.code, "message": str(error)})
        os.set_blocking(out, True)
        agent.flush()
        os._exit(1)
    except Exception:
        agent.send({"t": "fatal", "code": "bug", "message": format_exception()[-3000:]})
        os.set_blocking(out, True)
        agent.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
