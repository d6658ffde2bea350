"""How jobs end: noted before their process is gone, swept after, explained, and told once their log is in its place."""

import os
import signal
import time

from harbor_logs import Copies, link_log
from harbor_meter import Meter
from harbor_orphans import children, left_by
from harbor_processes import BOOT_ID, PROC, Look, ended_child, kill_all, kill_group, oom_count, own_peak
from harbor_shutdown import Shutdown
from harbor_spool import OUTPUT
from harbor_starting import refusal_of

FULL = 65536  # bytes: with less than that, a disk is full


class Endings:
    """The part of the agent that sees jobs off."""

    def __init__(self):
        self.records = {}
        self.leftovers = []
        self.copies = Copies()
        self.shutdown = Shutdown()
        self.meter = Meter()
        self.greeted = False

    def reap(self):
        """Jobs' shells that have ended, and orphans of jobs: we are the subreaper."""
        running = {record.pid: record for record in self.records.values() if record.runs}
        while True:
            ended = ended_child()
            if ended is None:
                return
            pid, code, usage = ended
            record = running.pop(pid, None)
            if record is not None:
                self.note_end(record, code)
                self.sweep(record)  # its pid is its own as long as nobody has waited for it
            if usage is None:
                usage = os.wait4(pid, 0)[2]
            if record is not None:
                self.step_ended(record, code, usage)
                if record.runs:
                    running[record.pid] = record  # its next script may have ended already

    def note_end(self, record, code):
        """How a script ended, on record before its process is gone. If there are more, the next is noted with them."""
        if code == 128 + signal.SIGKILL and record.reason is None and oom_count() > record.ooms:
            record.reason = "oom"
        elif code != 0 and record.reason is None:
            if self.workdir.missing_since(record.started, self.wire.closed):
                record.reason = "unshared"
            elif self.disk_free() < FULL:
                record.reason = "disk"
        if code != 0 or len(record.steps) + 1 >= record.info.get("scripts", 1):
            facts = {"code": code, "end": time.time()}
            if record.reason:
                facts["reason"] = record.reason
            if self.workdir.shared and link_log(record):
                facts["kept"] = record.kept = True
            record.add(**facts)

    def step_ended(self, record, code, usage):
        record.add_step(code, usage, own_peak())
        if record.info.get("code") is None and record.reason is None and record.mine:
            try:
                self.spawn(record)
                return
            except Exception as error:
                self.note_failed_start(record, error)
        self.conclude(record, record.info.get("end") or time.time())

    def note_failed_start(self, record, error):
        """A script after the first could not be started."""
        facts = refusal_of(error)
        record.pid = None
        if facts["reason"] in ("job", "disk"):
            record.reason = "disk" if facts["reason"] == "disk" else None
            record.add(code=126, end=time.time(), **({"reason": record.reason} if record.reason else {}))
        try:
            with open(record.base + OUTPUT, "ab") as f:
                f.write(("harbor: the next command was not started: %s\n" % facts).encode("utf-8", "replace"))
        except OSError:
            pass

    def sweep(self, record):
        """What a job leaves behind ends with it, as in a batch system."""
        others = [other for other in self.records.values() if other.runs and other is not record]
        if not PROC:
            kill_group(record.pid, signal.SIGTERM)
            self.leftovers.append((time.monotonic() + 1.0, record.pid, record.key, {}))
        elif record.reason is not None or children() - {other.pid for other in others} - {record.pid}:
            look = Look()
            ours = [other for other in others if os.getpid() in (other.info.get("keepers") or [])]
            orphans = left_by(record, ours, self.meter.members, look)
            members = look.family(record.pid, record.key, orphans)
            kill_all(members, signal.SIGKILL if record.reason else signal.SIGTERM)
            if members and record.reason is None:
                starts = {pid: look.table[pid][4] for pid in members}
                self.leftovers.append((time.monotonic() + 1.0, record.pid, record.key, starts))

    def end_leftovers(self, pid, key, starts):
        """Kill what has not ended when it was told to."""
        look = Look()
        same = [left for left, start in starts.items() if left in look.table and look.table[left][4] == start]
        kill_all(look.family(None if pid in look.table else pid, key, same), signal.SIGKILL)
        if not PROC:
            kill_group(pid, signal.SIGKILL)

    def conclude(self, record, end, look=None):
        """An attempt has ended: one of ours, or an earlier agent's by its record."""
        code, reason = record.info.get("code") if record.done() else None, record.reason
        if code is None and reason not in ("cancelled", "timeout", "fenced"):
            # Nobody saw how it ended, or will see it: agent and guardian were killed, or the node was rebooted.
            reason = record.reason = "lost"
            if record.info.get("boot_id") == BOOT_ID:
                kill_all(record.members(look or Look()), signal.SIGKILL)
        record.look()
        record.ended = {
            "job": record.job, "attempt": record.attempt, "code": -9 if code is None else code, "reason": reason,
            "start": record.info.get("start", end), "end": end, "steps": record.info.get("steps") or record.steps,
            "tail": record.tail(), "progress": record.progress,
        }  # fmt: skip
        self.finish(record)

    def finish(self, record):
        """Tell how an attempt has ended, once it is known why, and its log is where the controller wants it."""
        told = record.ended
        if told["reason"] is None:
            down = self.shutdown.ended(record, told["code"], told["end"])
            if down is None:
                return
            if down:
                told["reason"] = record.reason = "shutdown"
                record.add(reason="shutdown")
        if record.info.get("log") and record.kept is None and self.workdir.shared:
            if not record.mine and link_log(record):
                record.kept = True
            elif not self.copies.are_at(record):
                self.copies.begin(record)
            if record.kept is None:
                return
        record.exit, record.ended = dict(told, log=record.kept is True), None
        if not record.mine:
            record.add(exit=record.exit)  # so that the next agent need not conclude again
        record.spec = None
        if self.greeted:
            self.send(dict(record.exit, t="exited"))
        if self.wire.closed:
            self.leave_exit_notice(record)
