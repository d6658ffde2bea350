"""Runs jobs: starts their scripts, sees how they end, and reports the ends.

The exit code is on disk before the process is reaped, and the log is in its place before the end is reported.
"""

import os
import signal
import time

from harbor_fence import READ_EVERY
from harbor_job_signals import processes_of, signal_job
from harbor_job_start import Refused, refusal_of, require_paths, start_script
from harbor_leftovers import Leftovers
from harbor_log_delivery import LogCopies, link_log
from harbor_process_control import ended_child, lower_group_priority, signal_all
from harbor_process_table import ProcessTable
from harbor_shutdown import Shutdown
from harbor_spool import OUTPUT, RECORD, free_bytes, read_record, remove_files
from harbor_stage_dir import keep_output, remove_tree, stage_path
from harbor_start_message import checked
from harbor_system import BOOT_ID, oom_count, own_peak_mb

DISK_FULL = 65536  # bytes: a disk with less free space than that is full


class JobRunner:
    """`reports` is true once hello was sent, so that ends may be reported."""

    def __init__(self, wire, attempts, workdir, fence, latest, meter, welcome):
        self.wire = wire
        self.attempts = attempts
        self.workdir = workdir
        self.fence = fence
        self.latest = latest
        self.nice = int(welcome.get("nice", 0))
        self.node = welcome.get("node")
        self.copies = LogCopies()
        self.shutdown = Shutdown()
        self.leftovers = Leftovers(meter)
        self.ooms = oom_count()
        self.reports = False

    # --- starts ---

    def start(self, job, attempt, message):
        """Start an attempt. An exception, of any kind that `refusal_of` knows, says why it is not started."""
        if not message.get("stage") and not self.workdir.is_present():
            raise Refused("unshared")
        spec = checked(message)
        require_paths(spec)
        record = self.attempts.new_record(job, attempt, spec)
        if self.fence.given_up([record], READ_EVERY):
            # The network has kept this message while we were cut off, even longer than its sender lived.
            raise Refused("fenced")
        try:
            self.attempts.create(record)
            if self.latest.is_another():
                raise Refused("fenced")
            self.start_next_script(record)
        except BaseException:
            if record.pid is not None:
                signal_job(record, signal.SIGKILL, ProcessTable())
            remove_files(record.base)
            raise
        self.attempts.records[(job, attempt)] = record
        self.report_start(record)

    def report_start(self, record):
        self.wire.send({
            "t": "started", "job": record.job, "attempt": record.attempt, "pid": record.pid, "at": time.time(),
        })  # fmt: skip

    def start_next_script(self, record):
        """Start the shell of a record's next script."""
        spec = record.spec
        record.steps.begin()
        record.ooms_at_start = self.ooms
        if record.deadline is None and spec.get("runtime"):
            record.deadline = time.monotonic() + float(spec["runtime"])
        script = spec["scripts"][len(record.steps.ended)]
        record.begin_step(start_script(record.base, record.key, spec, script))
        record.priority_lowered = lower_group_priority(record.pid, self.nice)

    def refuse(self, job, attempt, error, stage=None):
        """Report that an attempt is not started, and whether that is because of the job or because of the node.

        `stage` is the name of the directory that was made for the attempt.
        """
        facts = refusal_of(error)
        if isinstance(stage, str):
            try:
                base = stage_path(self.attempts.scratch, stage)
                if facts.get("path", "").startswith(base):
                    facts = {"reason": "error", "message": "the directory of the attempt is gone: %s" % base}
                remove_tree(base)
            except ValueError:
                pass
        elif facts["reason"] in ("missing", "error") and not self.workdir.is_present():
            facts = {"reason": "unshared"}
        self.wire.send(dict(facts, t="refused", job=job, attempt=attempt))

    # --- ends ---

    def reap(self):
        """Reap our children that have ended: the shells of jobs, and orphans, because we are the subreaper."""
        running = {record.pid: record for record in self.attempts.running()}
        while True:
            ended = ended_child()
            if ended is None:
                return
            pid, code, usage = ended
            record = running.pop(pid, None)
            if record is not None:
                self.note_end(record, code)
                # The pid cannot be given to another process before the shell is reaped.
                self.leftovers.sweep(record, [other for other in self.attempts.running() if other is not record])
            if usage is None:
                usage = os.wait4(pid, 0)[2]
            if record is not None:
                self.continue_or_conclude(record, code, usage)
                if record.is_running:
                    running[record.pid] = record  # Its next script may have ended already.

    def note_end(self, record, code):
        """Write to the record how a script has ended, before its process is reaped.

        If there are more scripts, that is written together with the pid of the next one.
        """
        if code == 128 + signal.SIGKILL and record.reason is None and oom_count() > record.ooms_at_start:
            record.reason = "oom"
        elif code != 0 and record.reason is None:
            if not record.info.get("stage") and self.workdir.was_missing(record.steps.started, self.wire.closed):
                record.reason = "unshared"
            elif free_bytes(self.attempts.scratch) < DISK_FULL:
                record.reason = "disk"
        if code != 0 or len(record.steps.ended) + 1 >= record.info.get("scripts", 1):
            facts = {"code": code, "end": time.time()}
            if record.reason:
                facts["reason"] = record.reason
            if record.info.get("stage"):
                keep_output(self.attempts.scratch, record.info["stage"], record.base + OUTPUT)
            elif self.workdir.shared and link_log(record):
                facts["kept"] = record.kept = True
            record.append(**facts)

    def continue_or_conclude(self, record, code, usage):
        """Start the next script of an attempt, or conclude the attempt if there is none or the last one has failed."""
        record.end_step(code, usage, own_peak_mb())
        if record.info.get("code") is None and record.reason is None and record.spec is not None:
            try:
                self.start_next_script(record)
                return
            except Exception as error:
                self.note_failed_start(record, error)
        self.conclude(record, record.info.get("end") or time.time())

    def note_failed_start(self, record, error):
        """Note that a script after the first one could not be started."""
        facts = refusal_of(error)
        record.pid = None
        if facts["reason"] in ("job", "disk"):
            record.reason = "disk" if facts["reason"] == "disk" else None
            record.append(code=126, end=time.time(), **({"reason": record.reason} if record.reason else {}))
        try:
            with open(record.base + OUTPUT, "ab") as f:
                f.write(("harbor: the next command was not started: %s\n" % facts).encode("utf-8", "replace"))
        except OSError:
            pass

    def conclude(self, record, end, table=None):
        """Decide how an attempt has ended: one of ours, or one of an earlier agent of which only the record is left.

        If nobody saw the end, and nobody will see it, the attempt is lost and its processes are killed. That happens
        when agent and guardian were killed, or when the node was rebooted.
        """
        code, reason = record.info.get("code") if record.last_script_ended() else None, record.reason
        if code is None and reason not in ("cancelled", "timeout", "fenced"):
            reason = record.reason = "lost"
            if record.info.get("boot_id") == BOOT_ID:
                signal_all(processes_of(record, table or ProcessTable()), signal.SIGKILL)
        record.read_output()
        record.ended = {
            "job": record.job, "attempt": record.attempt, "code": -9 if code is None else code, "reason": reason,
            "start": record.info.get("start", end), "end": end,
            "steps": record.info.get("steps") or record.steps.ended,
            "tail": record.output.tail(), "progress": record.output.progress,
        }  # fmt: skip
        self.finish(record)

    def finish(self, record):
        """Report how an attempt has ended, once the reason is known and its log is where the controller wants it."""
        ended = record.ended
        if ended["reason"] is None:
            was_shutdown = self.shutdown.has_ended_job(record, ended["code"], ended["end"])
            if was_shutdown is None:
                return
            if was_shutdown:
                ended["reason"] = record.reason = "shutdown"
                record.append(reason="shutdown")
        has_log = record.info.get("log") and not record.info.get("stage")
        if has_log and record.kept is None and self.workdir.shared:
            if record.spec is None and link_log(record):
                record.kept = True
            elif not self.copies.contains(record):
                self.copies.begin(record)
            if record.kept is None:
                return
        record.exit, record.ended = dict(ended, log=record.kept is True), None
        if record.spec is None:
            record.append(exit=record.exit)  # so that the next agent need not conclude it again
        record.spec = None
        if self.reports:
            self.report_end(record)
        if self.wire.closed:
            self.leave_exit_notice(record)

    def report_end(self, record):
        self.wire.send(dict(record.exit, t="exited"))

    def finish_without_log(self, record):
        """Make the end of an attempt final without its log and its reason, which the controller does not need."""
        self.copies.drop(record)
        record.exit, record.ended = dict(record.ended, log=False), None

    def leave_exit_notice(self, record):
        """Leave an exit notice, unless the controller knows the end by way of another agent."""
        found = read_record(record.base + RECORD)
        if found and not found.get("forgotten"):
            self.fence.leave_exit_notice(record, dict(self.attempts.known_message(record), node=self.node))
