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

from harbor_endings import Endings
from harbor_fence import Fence
from harbor_guardian import guarded
from harbor_logs import kept_by_another, our_identity
from harbor_meter import introduce, memory
from harbor_processes import BOOT_ID, Look, is_starting, kill_all, lower_group, name_of, oom_count, own_peak, resident
from harbor_spool import ENDING, OUTPUT, RECORD, Record, append_json, private_directory, read_record, remove_files
from harbor_starting import checked, demand, refusal_of, start_script
from harbor_turn import Turn
from harbor_wire import MAX_LINE, Fatal, Wire, head_of_start, native
from harbor_workdir import Workdir

VERSION = 1
LOOK_EVERY = 0.25
FENCE_EVERY = 2.0
FIRST_SPAN = 0.3
PROGRESS_EVERY = 0.5
ALIVE_EVERY = 2.0
KEEP_DAYS = 14
STARTING = 1.0  # between fork and exec: below a millisecond, unless the machine is overloaded
STARTING_MAX = 5.0
TRASH_AFTER = 5.0
TRASH_MAX = 20000
GRACE = 5.0
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def format_exception():
    import traceback

    return traceback.format_exc()


def same_directory(one, other):
    """Whether two values of `where` are one directory. A copy elsewhere has another path and another inode."""
    if not isinstance(one, list) or not isinstance(other, list) or len(one) != 2 or len(other) != 2:
        return False
    return any(found is not None and found == other[i] for i, found in enumerate(one))


def on_its_way(pid, parent, keepers):
    """Whether a process may be a job that one of the keepers starts, or one of them that still starts jobs."""
    if parent in keepers:
        return is_starting(pid, parent)
    return name_of(pid) == "harbor-agent" and (pid in keepers or name_of(parent) != "harbor-guardian")


class Agent(Endings):
    """Answers the controller. Every `on_X` is the message of type X."""

    def __init__(self, wire, welcome):
        Endings.__init__(self)
        self.wire = wire
        self.send = wire.send
        self.welcome = welcome
        self.nice = 0
        self.trash = []
        self.trash_at = 0.0
        self.next_fence = 0.0
        self.next_measure = 0.0
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
        self.turn = Turn(self.scratch, (welcome.get("owner"), welcome.get("node")), "%d %s" % tuple(our_identity()))
        self.fence = Fence(welcome.get("fence"), welcome.get("owner"))
        self.workdir = Workdir(welcome)
        self.every = max(0.1, float(welcome.get("load_every", 1.0)))
        self.nice = int(welcome.get("nice", 0))
        os.nice(self.nice)  # and so of all jobs

    def greet(self):
        """Tell the controller who we are, and list what the spool holds."""
        self.load_records()
        self.send(self.hello())
        self.greeted = True
        for record in list(self.records.values()):
            self.send(self.known(record))
        self.send({"t": "ready"})
        # A shorter first sample would measure little. It began when we did, so that this is not much to wait for.
        self.next_load = max(time.monotonic(), self.meter.last_at + FIRST_SPAN)

    def hello(self):
        facts = introduce(self.welcome, self.scratch)
        return dict(
            facts,
            t="hello",
            v=VERSION,
            agent=os.getpid(),
            boot_id=BOOT_ID,
            cores=self.meter.cores,
            quota=self.meter.quota_directory is not None,
            shared=self.workdir.file is not None and self.workdir.look(False),
            scratch=self.scratch,
        )

    def load_records(self):
        """Take in what the spool holds, and conclude what has ended unseen."""
        limit = time.time() - KEEP_DAYS * 86400
        records = list(self.stored())
        lost = [record for record in records if not record.info.get("forgotten") and record.lacks_pid()]
        self.find_lost(lost, {record.pid for record in records})
        look = None
        for record in records:
            forgotten = record.info.get("forgotten")
            if record.exit is None and not forgotten and self.is_over(record):
                # Its end was noted by another agent, or by nobody.
                look = look or Look()
                self.conclude(record, record.info.get("end") or record.noted_at(), look)
            if record.runs and record.info.get("runtime") and not forgotten:
                record.deadline = time.monotonic() + float(record.info["runtime"]) - record.age()
            if forgotten or (record.exit is not None and record.exit.get("end", 0) < limit):
                self.remove(record)
                continue
            if record.exit is None or self.ours(record.info):
                self.records[(record.job, record.attempt)] = record

    def stored(self):
        """The records of this controller, and of its working directory when that had another id."""
        here = self.where()
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
                if "boot_id" not in info or not (self.ours(info) or same_directory(here, info.get("where"))):
                    # Not whole, or of another controller: its agent looks after it, and to us it is foreign load.
                    continue
                yield Record(path[: -len(RECORD)], "%s/%s" % (run, match.group(1)), int(match.group(2)), info)

    def find_lost(self, records, recorded=()):
        """Look for the processes of attempts whose agent was killed while it started them.

        Such a process may still be on its way: until its exec is complete, nothing shows which job it belongs to. One
        that takes too long is killed, so that it does not begin after its attempt was called lost. `recorded` are the
        pids in other records.
        """
        began = time.monotonic()
        while records:
            look = Look()
            recent = [record for record in records if abs(time.time() - record.started) < 10]
            keepers = {pid for record in recent for pid in record.info.get("keepers") or []}
            others = ((pid, found[0]) for pid, found in look.table.items() if pid != os.getpid())
            coming = {pid for pid, parent in others if on_its_way(pid, parent, keepers)}
            for record in records:
                record.find(look)
            records = [record for record in recent if record.pid is None]
            waited = time.monotonic() - began
            if not (recent and coming) or waited > STARTING_MAX:
                return
            if waited > STARTING:
                late = [pid for pid in coming if look.table[pid][0] in keepers and pid not in keepers]
                kill_all(set(late).difference(recorded), signal.SIGKILL)
            time.sleep(0.01)

    def is_over(self, record):
        """Whether nobody else will note how an attempt ended, or has still to do with its end."""
        return not (record.mine or record.alive()) and record.over() and not kept_by_another(record)

    def ours(self, info):
        return info.get("owner") == self.welcome.get("owner")

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
                    for line, whole in self.wire.receive():
                        self.take(line) if whole else self.take_head(line)
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
        if self.copies.queue:
            return 0.0
        running = any(r.exit is None for r in self.records.values())
        due = [self.next_load] if not self.wire.closed else [time.monotonic() + 1.0]
        if running or self.leftovers:
            due.append(self.next_look)
        if self.wire.due() is not None:
            due.append(self.wire.due())
        return max(0.0, min(due) - time.monotonic())

    def take(self, line):
        message = None
        try:
            message = json.loads(line.decode("utf-8"))
            handler = getattr(self, "on_" + message["t"], None) if isinstance(message["t"], str) else None
            if handler is None:
                raise ValueError("unknown type %r" % (message["t"],))
            handler(native(message))
        except SystemExit:
            raise
        except Exception as error:
            if isinstance(message, dict) and message.get("t") == "start":
                self.refuse(message.get("job"), message.get("attempt"), error)
            else:
                text = "%s: %s" % (type(error).__name__, error)
                self.send({"t": "error", "message": "not understood: %s" % text[:500]})

    def take_head(self, head):
        """The beginning of a line that was too long: a start is answered, so that the controller does not wait."""
        text = "a line of more than %d bytes was dropped" % MAX_LINE
        names = head_of_start(head)
        if names is None:
            self.send({"t": "error", "message": text})
        else:
            self.refuse(names[0], names[1], ValueError("the start message is too long: " + text))

    def part(self):
        """The controller is gone. Stay for the jobs: their limits, their logs, kills that are under way."""
        self.parted = True
        self.empty_trash()
        for record in self.records.values():
            if record.exit is not None:
                self.leave_exit_notice(record)  # it was sent, and may not have arrived
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
        if not self.workdir.look(False):
            self.send({"t": "refused", "job": job, "attempt": attempt, "reason": "unshared"})
            return
        spec = checked(message)
        demand(spec)
        names = ("hash", "meta", "name", "log", "cpus", "progress", "runtime")
        info = {name: spec[name] for name in names if spec.get(name) is not None}
        info.update(boot_id=BOOT_ID, start=time.time(), owner=self.welcome.get("owner"), where=self.where())
        info["keepers"] = [os.getpid(), os.getppid()]
        if len(spec["scripts"]) > 1:
            info["scripts"] = len(spec["scripts"])
        record = Record(os.path.join(self.spool, "%s.%d" % (job, attempt)), job, attempt, info)
        record.spec = spec
        if self.fence.given_up([record], FENCE_EVERY):
            # The network has kept this message while we were cut off, even longer than its sender lived.
            self.send({"t": "refused", "job": job, "attempt": attempt, "reason": "fenced"})
            return
        try:
            self.note(record)
            if self.turn.over():
                remove_files(record.base)
                self.send({"t": "refused", "job": job, "attempt": attempt, "reason": "fenced"})
                return
            self.spawn(record)
        except BaseException:
            if record.pid is not None:
                record.signal(signal.SIGKILL, Look())
            remove_files(record.base)
            raise
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
        """Start the shell of a record's next script."""
        spec = record.spec
        record.started = time.time()
        record.ooms = self.ooms
        if record.deadline is None and spec.get("runtime"):
            record.deadline = time.monotonic() + float(spec["runtime"])
        record.begin_step(start_script(record.base, record.key, spec, spec["scripts"][len(record.steps)]))
        record.nice = lower_group(record.pid, self.nice)

    def refuse(self, job, attempt, error):
        """A job was not started, for a reason that is the job's or the node's."""
        facts = refusal_of(error)
        if facts["reason"] in ("missing", "error") and not self.workdir.look(False):
            facts = {"reason": "unshared"}
        self.send(dict(facts, t="refused", job=job, attempt=attempt))

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
        if record is not None and record.runs and self.is_over(record):
            self.conclude(record, time.time())  # the controller had word of its end before we looked
        if record is not None and record.ended is not None:
            self.copies.drop(record)
            record.exit, record.ended = dict(record.ended, log=False), None
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
            "eof": not record.runs and offset + len(data) >= whole,
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

    def remove(self, record):
        remove_files(record.base)
        if not any(job.startswith(record.job.partition("/")[0] + "/") for job, _ in self.records):
            try:
                os.rmdir(os.path.dirname(record.base))
            except OSError:
                pass

    def tick(self, now):
        for record in self.copies.turn():
            self.finish(record)
        running = [record for record in self.records.values() if record.runs]
        pending = [record for record in self.records.values() if record.ended is not None]
        if (running or pending or self.leftovers) and now >= self.next_look:
            self.next_look = now + LOOK_EVERY
            for record in pending:
                self.finish(record)
            self.watch(running, now)
            self.look(running, now)
        if self.records and now >= self.next_fence:
            self.next_fence = now + FENCE_EVERY
            self.obey_fence()
        if self.trash and now >= self.trash_at:
            self.empty_trash()
        if self.wire.closed:
            self.finished = not any(r.exit is None for r in self.records.values()) and not self.leftovers
        elif now >= self.next_load:
            self.next_load = now + self.every
            self.send(self.load([record for record in running if record.runs], now))

    def watch(self, running, now):
        """Limits, kills that are due, and jobs of earlier agents."""
        for record in running:
            if not record.nice:
                record.nice = lower_group(record.pid, self.nice)
            if record.deadline is not None and now >= record.deadline:
                record.end("timeout", GRACE)
            if record.kill_at is not None and now >= record.kill_at:
                record.kill_at = now + 1.0
                record.signal(signal.SIGKILL, Look())
            if self.is_over(record):
                self.conclude(record, record.info.get("end") or time.time())
        for due in [due for due in self.leftovers if now >= due[0]]:
            self.leftovers.remove(due)
            self.end_leftovers(*due[1:])

    def obey_fence(self):
        """End attempts that were given up, and leave word of those that had ended. With and without a connection: one
        that is cut silently still seems to be there.
        """
        for record in self.fence.given_up(list(self.records.values())):
            if record.runs:
                record.end("fenced", 1.0)
            elif record.exit is not None:
                self.leave_exit_notice(record)

    def leave_exit_notice(self, record):
        found = read_record(record.base + RECORD)
        if found and not found.get("forgotten"):  # else the controller knows, by way of another agent
            self.fence.leave_exit_notice(record, dict(self.known(record), node=self.welcome.get("node")))

    def look(self, running, now):
        """Progress and signs of life, for the controller."""
        most = own_peak()
        for record in running:
            record.look()
            if record.peak < most:
                record.sees(resident(record.pid))
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

    def load(self, running, now):
        self.ooms = oom_count()
        busy, ours, ended, memory_of = self.meter.sample({record.key: record.pid for record in running})
        for record in running:
            record.sees(memory_of[record.key])
        if now >= self.next_measure or not self.workdir.shared:
            self.next_measure = now + FENCE_EVERY
            self.workdir.measure(False)
        return {
            "t": "load", "at": time.time(), "busy": round(busy, 3), "ours": ours, "ended": round(ended, 3),
            "load1": os.getloadavg()[0], "mem_available_mb": memory()[1],
            "disk_free_mb": self.disk_free() >> 20, "users": self.meter.who(self.scratch),
            "shared": self.workdir.shared, "workdir_free_mb": self.workdir.free_mb,
        }  # fmt: skip

    def disk_free(self):
        """Bytes that we may still write in scratch. Another agent that ends removes it if it is empty; the next job
        makes it again.
        """
        path = self.scratch
        while True:
            try:
                disk = os.statvfs(path)
            except OSError as error:
                if error.errno != errno.ENOENT or path == os.path.dirname(path):
                    return 0
                path = os.path.dirname(path)
            else:
                return disk.f_bavail * disk.f_frsize

    def tidy(self):
        """Leave no record that nobody will ask for, and no empty directories; another agent may still use them."""
        for record in self.fence.given_up(list(self.records.values())):
            del self.records[(record.job, record.attempt)]
            self.remove(record)
        self.turn.leave()
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
        alone = guarded(agent)
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
