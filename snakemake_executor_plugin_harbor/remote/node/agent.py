"""The agent: the program of harbor that runs on a node. Python >= 3.6, standard library only, imports nothing of ours.

It is streamed over the connection. Each job is a shell in a session of its own, with its output in the spool; how it
ends is appended to its record there. An agent that loses its controller stays until its jobs have ended, to enforce
their limits; its guardian takes over if it is killed itself; the next agent finds the records. Messages are JSON
objects, one a line (controller: core/protocol.py). Single-threaded: one selector; what is polled is the growth of
output files.
"""

import binascii
import errno
import json
import os
import re
import selectors
import signal
import sys
import time

from harbor_fence import Fence
from harbor_guardian import guarded
from harbor_meter import Meter, introduce, memory
from harbor_processes import (
    BOOT_ID,
    all_processes,
    ended_child,
    family,
    kill_all,
    lower_group,
    oom_count,
    read_file,
    start_process,
    which,
)
from harbor_spool import (
    ENDING,
    OUTPUT,
    RECORD,
    SCRIPT,
    Record,
    append_json,
    private_directory,
    read_record,
    remove_files,
)
from harbor_wire import MAX_LINE, Fatal, Wire, native

VERSION = 1
LOOK_EVERY = 0.25
FENCE_EVERY = 2.0
FIRST_LOAD = 0.1
PROGRESS_EVERY = 0.5
ALIVE_EVERY = 2.0
KEEP_DAYS = 14
TRASH_AFTER = 5.0
TRASH_MAX = 20000
LONG_SCRIPT = 100000
FULL = 65536  # bytes: with less than that, a disk is full
GRACE = 5.0
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def format_exception():
    import traceback

    return traceback.format_exc()


class Agent:
    """Answers the controller. Every `on_X` is the message of type X."""

    def __init__(self, wire, welcome):
        self.wire = wire
        self.send = wire.send
        self.welcome = welcome
        self.records = {}
        self.leftovers = []
        self.nice = 0
        self.trash = []
        self.trash_at = 0.0
        self.next_fence = 0.0
        self.next_load = 0.0
        self.next_look = 0.0
        self.alive_at = 0.0
        self.parted = False
        self.finished = False
        self.ooms = oom_count()

    # --- beginning ---

    def settle(self):
        """Check the node, and make of this process what jobs are to inherit."""
        welcome = self.welcome
        if welcome.get("v") != VERSION:
            raise Fatal("protocol", "the controller speaks version %r, this agent %d" % (welcome.get("v"), VERSION))
        if sys.platform.startswith(("win", "cygwin", "msys")):
            raise Fatal("platform", "nodes run Linux or macOS; this one is %s" % sys.platform)
        os.umask(int(welcome.get("umask", 0o022)))
        for name in ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"):
            os.environ.pop(name, None)
        # What a shell on the way here may have dropped: dash does so with functions that bash exports.
        for name, value in (welcome.get("environment") or {}).items():
            os.environb[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
        # Debian's bash sources ~/.bashrc for every `bash -c` under sshd (SHLVL < 2): 100-200 ms a job.
        os.environ["SHLVL"] = "1"
        self.scratch = private_directory(welcome.get("scratch") or "/var/tmp/harbor-%d" % os.getuid())
        self.spool = private_directory(os.path.join(self.scratch, "spool"))
        self.fence = Fence(welcome.get("fence"), welcome.get("owner"))
        self.every = max(0.1, float(welcome.get("load_every", 1.0)))
        self.nice = int(welcome.get("nice", 0))
        os.nice(self.nice)  # and so of all jobs

    def greet(self):
        """Tell the controller who we are, and list what the spool holds."""
        self.meter = Meter()
        self.load_records()
        self.send(self.hello())
        for record in list(self.records.values()):
            self.send(self.known(record))
        self.send({"t": "ready"})
        # A shorter first sample would measure little: the kernel counts in steps of 10 ms.
        self.next_load = time.monotonic() + FIRST_LOAD

    def hello(self):
        facts = introduce(self.welcome)
        return dict(
            facts,
            t="hello",
            v=VERSION,
            agent=os.getpid(),
            boot_id=BOOT_ID,
            cores=self.meter.cores,
            scratch=self.scratch,
        )

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
                if "boot_id" not in info or not (self.ours(info) or self.same_directory(info)):
                    # Not whole, or of another controller: its agent looks after it, and to us it is foreign load.
                    continue
                record = Record(path[: -len(RECORD)], "%s/%s" % (run, match.group(1)), int(match.group(2)), info)
                if not info.get("forgotten"):
                    record.find()
                if record.exit is None and not info.get("forgotten") and not record.alive():
                    # Read again: it may have ended between the first look and the second.
                    if record.over():
                        self.conclude(record, os.stat(path).st_mtime)
                if record.exit is None and info.get("runtime") and record.age() is not None:
                    record.deadline = time.monotonic() + float(info["runtime"]) - record.age()
                if info.get("forgotten") or (record.exit is not None and record.exit.get("end", 0) < limit):
                    self.remove(record)
                    continue
                if record.exit is not None and not self.ours(info):
                    continue
                self.records[(record.job, record.attempt)] = record

    def ours(self, info):
        return info.get("owner") == self.welcome.get("owner")

    def same_directory(self, info):
        """Whether a job was started in our working directory, when that had another id. A copy elsewhere has another
        path and another inode.
        """
        here = self.where()
        there = info.get("where")
        return isinstance(there, list) and len(there) == 2 and (here[0] == there[0] or here[1] == there[1] is not None)

    def where(self):
        """Our working directory: its path, and its device and inode as this node sees them."""
        path = self.welcome.get("workdir")
        try:
            found = os.stat(path)
        except (OSError, TypeError):
            return [path, None]
        return [os.path.realpath(path), [found.st_dev, found.st_ino]]

    def known(self, record):
        state = "running" if record.exit is None else "exited"
        info = record.info
        return {
            "t": "known", "job": record.job, "attempt": record.attempt, "state": state, "hash": info.get("hash", ""),
            "meta": info.get("meta") or {}, "name": info.get("name", ""), "exit": record.exit,
            "foreign": not self.ours(info),
        }  # fmt: skip

    # --- the loop ---

    def serve(self):
        selector = selectors.DefaultSelector()
        if not self.wire.closed:
            self.wire.watch(selector)
        wake, poke = os.pipe()
        for fd in (wake, poke):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(poke)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector.register(wake, selectors.EVENT_READ)
        while not self.finished:
            self.wire.flush()
            for selected, _ in selector.select(self.pause()):
                if selected.fd == self.wire.inp:
                    for line in self.wire.receive():
                        self.take(line)
                elif selected.fd == wake:
                    try:
                        os.read(wake, 4096)
                    except OSError:
                        pass
            if self.wire.closed and not self.parted:
                self.part()
            self.reap()
            self.tick(time.monotonic())

    def pause(self):
        running = [r for r in self.records.values() if r.exit is None]
        due = [self.next_load] if not self.wire.closed else [time.monotonic() + 1.0]
        if running or self.leftovers:
            due.append(self.next_look)
        if self.wire.due() is not None:
            due.append(self.wire.due())
        return max(0.0, min(due) - time.monotonic())

    def take(self, line):
        if line is None:
            self.send({"t": "error", "message": "a line of more than %d bytes was dropped" % MAX_LINE})
            return
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

    def part(self):
        """The controller is gone. Stay for the jobs: their limits, their logs, kills that are under way."""
        self.parted = True
        self.empty_trash()
        for record in self.records.values():
            if record.exit is not None:
                self.leave_word(record)  # it was sent, and may not have arrived
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
        info.update(boot_id=BOOT_ID, start=time.time(), owner=self.welcome.get("owner"), where=self.where())
        info["keepers"] = [os.getpid(), os.getppid()]
        if len(message["scripts"]) > 1:
            info["scripts"] = len(message["scripts"])
        record = Record(base, job, attempt, info)
        record.spec = dict(message, shell=shell)
        if self.fence.given_up([record], FENCE_EVERY):
            # The network has kept this message while we were cut off, even longer than its sender lived.
            self.refuse(job, attempt, "fenced")
            return
        try:
            self.note(record)
            self.spawn(record)
        except OSError as error:
            remove_files(base)
            reason = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fork"
            self.refuse(job, attempt, reason, message="%s: %s" % (reason, error))
            return
        self.records[(job, attempt)] = record
        self.send({"t": "started", "job": job, "attempt": attempt, "pid": record.pid, "at": time.time()})

    def note(self, record):
        """On disk before anything runs: no job without a trace. Agents that end remove directories that are empty."""
        for last in (False, False, True):
            try:
                if not os.path.isdir(os.path.dirname(record.base)):
                    private_directory(private_directory(self.scratch) and self.spool)
                    os.makedirs(os.path.dirname(record.base), 0o700, exist_ok=True)
                append_json(record.base + RECORD, record.info, ENDING)
                return
            except OSError as error:
                if last or error.errno != errno.ENOENT:
                    raise

    def spawn(self, record):
        """Start the shell of a record's next script. OSError if that cannot be."""
        spec = record.spec
        script, shell = spec["scripts"][len(record.steps)].encode("utf-8", "surrogateescape"), spec["shell"]
        argv = [os.fsencode(shell), b"-c", script]
        if len(script) > LONG_SCRIPT:
            # The kernel takes at most 128 KiB in one argument.
            with open(record.base + SCRIPT, "wb") as f:
                f.write(script + b"\n")
            argv[1:] = [os.fsencode(f.name)]
        env = dict(os.environb)
        for name, value in spec.get("env", {}).items():
            if value is None:
                env.pop(os.fsencode(name), None)
            else:
                env[os.fsencode(name)] = value.encode("utf-8", "surrogateescape")
        env[b"HARBOR_JOB_KEY"] = record.key.encode()
        env[b"PWD"] = os.fsencode(spec["cwd"])  # as typed: automounters do not like resolved names
        record.started = time.time()
        record.ooms = self.ooms
        if record.deadline is None and spec.get("runtime"):
            record.deadline = time.monotonic() + float(spec["runtime"])
        record.pid = start_process(which(shell) or shell, argv, env, spec["cwd"], record.base + OUTPUT)
        record.note_process()
        record.nice = lower_group(record.pid, self.nice)

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
        if record is not None and record.exit is None and not record.mine and not record.alive() and record.over():
            self.conclude(record, time.time())  # the controller had word of its end before we looked
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
        self.wire.flush()
        self.wire.close()

    @staticmethod
    def names(message):
        job, attempt = message["job"], message["attempt"]
        run, _, name = job.partition("/")
        if not NAME.match(run) or not NAME.match(name) or isinstance(attempt, bool) or not 0 < int(attempt) < 1000000:
            raise ValueError("bad job %r or attempt %r" % (job, attempt))
        return job, int(attempt)

    # --- jobs ---

    def reap(self):
        """Jobs' shells that have ended, and orphans of jobs: we are the subreaper."""
        running = {record.pid: record for record in self.records.values() if record.exit is None}
        while True:
            ended = ended_child()
            if ended is None:
                return
            pid, code, usage = ended
            if pid in running:
                self.note_end(running[pid], code)
            if usage is None:
                usage = os.wait4(pid, 0)[2]
            record = running.pop(pid, None)
            if record is not None:
                self.step_ended(record, code, usage)
                if record.exit is None:
                    running[record.pid] = record  # its next script may have ended already

    def note_end(self, record, code):
        """How a script ended, on record before its process is gone. If there are more, the next is noted with them."""
        if code == 128 + signal.SIGKILL and record.reason is None and oom_count() > record.ooms:
            record.reason = "oom"
        elif code != 0 and record.reason is None and self.disk_free() < FULL:
            record.reason = "disk"
        if code != 0 or len(record.steps) + 1 >= record.info.get("scripts", 1):
            record.add(code=code, **({"reason": record.reason} if record.reason else {}))

    def step_ended(self, record, code, usage):
        record.add_step(code, usage)
        self.sweep(record)
        if record.info.get("code") is None and record.reason is None and record.mine:
            try:
                self.spawn(record)
                return
            except OSError:
                record.add(code=126)
        self.conclude(record, time.time())
        self.send(dict(record.exit, t="exited"))

    def sweep(self, record):
        """What a job leaves behind ends with it, as in a batch system."""
        leaders = {other.pid for other in self.records.values() if other.exit is None}
        left = {int(pid) for pid in read_file("/proc/self/task/%d/children" % os.getpid()).split()} - leaders
        if left or record.reason is not None:
            members = family(record.pid, record.key, all_processes())
            kill_all(members, signal.SIGKILL if record.reason else signal.SIGTERM)
            if members and record.reason is None:
                self.leftovers.append((time.monotonic() + 1.0, record.pid, record.key))

    def conclude(self, record, end):
        """The exit message of an attempt that has ended: of ours, or of an earlier agent's from its record."""
        code, reason = record.info.get("code") if record.done() else None, record.reason
        if code is None and reason not in ("cancelled", "timeout", "fenced"):
            # Nobody saw how it ended, or will see it: agent and guardian were killed, or the node was rebooted.
            reason = record.reason = "lost"
            if record.info.get("boot_id") == BOOT_ID and isinstance(record.pid, int):
                kill_all(record.members(all_processes()), signal.SIGKILL)
        record.look()
        kept, tail = record.keep_log()
        steps = record.info.get("steps") or record.steps
        start = record.info.get("start", end)
        record.exit = {
            "job": record.job, "attempt": record.attempt, "code": -9 if code is None else code, "reason": reason,
            "start": start, "end": end, "steps": steps, "tail": tail, "log": kept, "progress": record.progress,
        }  # fmt: skip
        record.spec = None
        if self.wire.closed:
            self.leave_word(record)

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
        if self.records and now >= self.next_fence:
            self.next_fence = now + FENCE_EVERY
            self.obey_fence()
        if self.trash and now >= self.trash_at:
            self.empty_trash()
        if self.wire.closed:
            self.finished = not running and not self.leftovers
        elif now >= self.next_load:
            self.next_load = now + self.every
            self.send(self.load({r.key: r.pid for r in running if r.exit is None}))

    def watch(self, running, now):
        """Limits, kills that are due, and jobs of earlier agents."""
        for record in running:
            if not record.nice:
                record.nice = lower_group(record.pid, self.nice)
            if record.deadline is not None and now >= record.deadline:
                record.end("timeout", GRACE)
            if record.kill_at is not None and now >= record.kill_at:
                record.kill_at = now + 1.0
                kill_all(record.members(all_processes()), signal.SIGKILL)
            if not record.mine and not record.alive() and record.over():
                self.conclude(record, time.time())
                self.send(dict(record.exit, t="exited"))
        for due in [due for due in self.leftovers if now >= due[0]]:
            self.leftovers.remove(due)
            kill_all(family(due[1], due[2], all_processes()), signal.SIGKILL)

    def obey_fence(self):
        """End attempts that were given up, and leave word of those that had ended. With and without a connection: one
        that is cut silently still seems to be there.
        """
        for record in self.fence.given_up(list(self.records.values())):
            if record.exit is None:
                record.end("fenced", 1.0)
            else:
                self.leave_word(record)

    def leave_word(self, record):
        found = read_record(record.base + RECORD)
        if found and not found.get("forgotten"):  # else the controller knows, by way of another agent
            self.fence.leave_word(record, dict(self.known(record), node=self.welcome.get("node")))

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
        return {
            "t": "load", "at": time.time(), "busy": round(busy, 3), "ours": ours, "ended": round(ended, 3),
            "load1": os.getloadavg()[0], "mem_available_mb": memory()[1],
            "disk_free_mb": self.disk_free() >> 20, "users": self.meter.who(),
        }  # fmt: skip

    def disk_free(self):
        """Bytes that we may still write in scratch."""
        try:
            disk = os.statvfs(self.scratch)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize

    def tidy(self):
        """Leave no record that nobody will ask for, and no empty directories; another agent may still use them."""
        for record in self.fence.given_up(list(self.records.values())):
            del self.records[(record.job, record.attempt)]
            self.remove(record)
        runs = [os.path.join(self.spool, run) for run in os.listdir(self.spool)] if os.path.isdir(self.spool) else []
        for path in runs + [self.spool, self.scratch]:
            try:
                os.rmdir(path)
            except OSError:
                pass


def main():
    inp, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    wire = Wire(inp, out)
    try:
        agent = Agent(wire, wire.first_message())
        agent.settle()
        alone = guarded(wire)
        if alone:
            agent.load_records()
        else:
            agent.greet()
        agent.serve()
        agent.tidy()
    except Fatal as error:
        wire.last_words({"t": "fatal", "code": error.code, "message": str(error)})
        os._exit(1)
    except Exception:
        wire.last_words({"t": "fatal", "code": "bug", "message": format_exception()[-3000:]})
        os._exit(1)
    os._exit(1 if alone else 0)


if __name__ == "__main__":
    main()
