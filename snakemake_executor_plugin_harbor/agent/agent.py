"""The agent: the program of harbor that runs on a node. It needs Python >= 3.6 and only the standard library.

It is streamed over the connection. Each job is a shell in a session of its own, with its output in the spool, and how
it ends is appended to its record there. An agent that loses its controller stays until its jobs have ended, so that it
can enforce their limits. If the agent is killed, its guardian takes over. The next agent finds the records.

Messages are JSON objects, one per line (core/protocol.py is the controller's side). There is one thread with one
selector. Only the growth of output files is polled.
"""

import binascii
import json
import os
import selectors
import signal
import time

from harbor_attempts import MAX_ATTEMPT, NAME, Attempts, is_unattended
from harbor_checkup import checkup
from harbor_facts import node_facts, user_name
from harbor_fence import Fence
from harbor_guardian import fork_agent
from harbor_inventory import inventory
from harbor_job_runner import JobRunner
from harbor_job_signals import end_job
from harbor_latest_agent import LatestAgent
from harbor_meter import Meter
from harbor_preparation import check_node, prepare_process
from harbor_process_table import our_identity
from harbor_recovery import recover
from harbor_spool import private_directory
from harbor_system import BOOT_ID
from harbor_watch import GRACE, Watch
from harbor_wire import MAX_LINE, VERSION, Fatal, Wire, attempt_in_head, with_native_paths
from harbor_workdir import Workdir


def format_exception():
    import traceback

    return traceback.format_exc()


class Agent:
    """Answers the controller. Each `on_X` handles the messages of type X."""

    def __init__(self, wire, welcome):
        self.meter = Meter()
        check_node(welcome)
        prepare_process(welcome)
        self.wire = wire
        self.welcome = welcome
        self.disconnected = False
        self.scratch = private_directory(welcome.get("scratch") or "/var/tmp/harbor-%d" % os.getuid())
        self.attempts = attempts = Attempts(self.scratch, welcome)
        owners = (welcome.get("owner"), welcome.get("node"))
        self.latest = LatestAgent(self.scratch, owners, "%d %s" % tuple(our_identity()))
        self.fence = fence = Fence(welcome.get("fence"), welcome.get("owner"))
        self.workdir = workdir = Workdir(welcome)
        self.runner = JobRunner(wire, attempts, workdir, fence, self.latest, self.meter, welcome)
        self.watch = Watch(wire, attempts, self.runner, workdir, fence, self.meter, welcome)

    def greet(self):
        """Describe this node to the controller, and list what the spool holds."""
        recover(self.attempts, self.runner)
        self.attempts.remove_orphans()
        self.wire.send(self.hello())
        self.runner.reports = True
        for record in list(self.attempts.records.values()):
            self.wire.send(self.attempts.known_message(record))
        self.wire.send({"t": "ready"})
        self.watch.begin()

    def hello(self):
        return dict(
            node_facts(self.welcome, self.scratch),
            t="hello",
            v=VERSION,
            agent=os.getpid(),
            boot_id=BOOT_ID,
            cores=self.meter.cores,
            quota=self.meter.quota_directory is not None,
            shared=self.workdir.probe is not None and self.workdir.is_present(),
            scratch=self.scratch,
        )

    # --- the loop ---

    def serve(self):
        """Run the loop. It ends when the controller is gone and all jobs have ended."""
        selector = selectors.DefaultSelector()
        if not self.wire.closed:
            self.wire.register(selector)
        wake, waker = os.pipe()
        for fd in (wake, waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector.register(wake, selectors.EVENT_READ)
        finished = False
        while not finished:
            self.wire.flush()
            for selected, _ in selector.select(self.pause()):
                if selected.fd == self.wire.inp:
                    for line, whole in self.wire.receive():
                        self.handle_line(line) if whole else self.handle_head(line)
                elif selected.fd == wake:
                    try:
                        os.read(wake, 4096)
                    except OSError:
                        pass
            if not self.wire.closed and self.latest.has_replaced_us(time.monotonic()):
                self.wire.close()
            if self.wire.closed and not self.disconnected:
                self.continue_alone()
            self.runner.reap()
            self.watch.tick(time.monotonic())
            finished = self.wire.closed and self.attempts.all_have_ended() and not self.runner.leftovers.pending

    def pause(self):
        """Return for how long the loop may wait for messages."""
        if self.runner.copies.queue:
            return 0.0
        due, flush = self.watch.next_due(), self.wire.flush_due()
        return max(0.0, (due if flush is None else min(due, flush)) - time.monotonic())

    def handle_line(self, line):
        """Handle one message. What cannot be understood is answered, and the agent goes on."""
        message = None
        try:
            message = json.loads(line.decode("utf-8"))
            handler = getattr(self, "on_" + message["t"], None) if isinstance(message["t"], str) else None
            if handler is None:
                raise ValueError("unknown type %r" % (message["t"],))
            handler(with_native_paths(message))
        except SystemExit:
            raise
        except Exception as error:
            if isinstance(message, dict) and message.get("t") == "start":
                self.runner.refuse(message.get("job"), message.get("attempt"), error, message.get("stage"))
            else:
                text = "%s: %s" % (type(error).__name__, error)
                self.wire.send({"t": "error", "message": "not understood: %s" % text[:500]})

    def handle_head(self, head):
        """Handle the beginning of a line that was too long.

        A start message is answered by a refusal, so that the controller need not wait.
        """
        text = "a line of more than %d bytes was dropped" % MAX_LINE
        names = attempt_in_head(head)
        if names is None:
            self.wire.send({"t": "error", "message": text})
        else:
            self.runner.refuse(names[0], names[1], ValueError("the start message is too long: " + text))

    def continue_alone(self):
        """Go on without the controller, for the jobs: their limits, their logs, and kills that are due.

        Ends that were reported may not have arrived, so exit notices are left for them.
        """
        self.disconnected = True
        self.attempts.delete_forgotten()
        for record in self.attempts.records.values():
            if record.exit is not None:
                self.runner.leave_exit_notice(record)
        self.watch.next_look = 0.0

    # --- messages ---

    @staticmethod
    def attempt_of(message):
        """Return (job, attempt) of a message. ValueError is raised if they could lead out of the spool."""
        job, attempt = message["job"], message["attempt"]
        run, _, name = job.partition("/")
        is_name = NAME.match(run) and NAME.match(name)
        if not is_name or isinstance(attempt, bool) or not 0 < int(attempt) <= MAX_ATTEMPT:
            raise ValueError("bad job %r or attempt %r" % (job, attempt))
        return job, int(attempt)

    def find(self, message):
        """Return (job, attempt, Record or None) of a message."""
        job, attempt = self.attempt_of(message)
        return job, attempt, self.attempts.records.get((job, attempt))

    def on_start(self, message):
        job, attempt, record = self.find(message)
        if record is None:
            self.runner.start(job, attempt, message)
        elif record.exit is None:
            self.runner.report_start(record)
        else:
            self.runner.report_end(record)

    def on_cancel(self, message):
        job, attempt, record = self.find(message)
        if record is None:
            self.wire.send({"t": "gone", "job": job, "attempt": attempt})
        elif record.exit is not None:
            self.runner.report_end(record)
        else:
            end_job(record, "cancelled", float(message.get("grace", GRACE)))

    def on_forget(self, message):
        _, _, record = self.find(message)
        if record is not None and record.is_running and is_unattended(record):
            # The controller knew of its end before we looked: an exit notice was left.
            self.runner.conclude(record, time.time())
        if record is not None and record.ended is not None:
            self.runner.finish_without_log(record)
        if record is not None and record.exit is not None:
            self.attempts.forget(record)

    def on_read(self, message):
        job, attempt, record = self.find(message)
        if record is None:
            self.wire.send({"t": "gone", "job": job, "attempt": attempt})
            return
        offset = max(0, int(message.get("offset", 0)))
        data, size = record.output.piece(offset, int(message.get("size", 65536)))
        self.wire.send({
            "t": "output", "job": job, "attempt": attempt, "offset": offset, "size": size,
            "data": binascii.b2a_base64(data).decode("ascii").strip(),
            "eof": not record.is_running and offset + len(data) >= size,
        })  # fmt: skip

    def on_ping(self, message):
        self.wire.send({"t": "pong", "n": message.get("n")})

    def on_checkup(self, message):
        self.wire.send(dict(checkup(message, self.workdir, self.scratch, user_name()), t="checkup"))

    def on_inventory(self, message):
        self.wire.send({"t": "inventory", "owners": inventory(self.attempts, message["remove"])})

    def on_bye(self, message):
        self.attempts.run_has_ended = True
        self.wire.flush()
        self.wire.close()

    # --- the end ---

    def clean_up(self):
        """Leave no record that nobody will ask for, and no empty directory."""
        for record in self.fence.given_up(list(self.attempts.records.values())):
            del self.attempts.records[(record.job, record.attempt)]
            self.attempts.delete(record)
        self.latest.leave()
        self.attempts.remove_orphans()
        self.attempts.remove_empty_directories()


def main():
    inp, out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    wire = Wire(inp, out)
    try:
        welcome = wire.read_welcome()
        signal.alarm(0)  # The loader has set it.
        agent = Agent(wire, welcome)
        is_guardian = fork_agent(wire, agent.meter, agent.runner.shutdown)
        if is_guardian:
            recover(agent.attempts, agent.runner)
        else:
            agent.greet()
        agent.serve()
        agent.clean_up()
    except Fatal as error:
        wire.send_last({"t": "fatal", "code": error.code, "message": str(error)})
        os._exit(1)
    except Exception:
        wire.send_last({"t": "fatal", "code": "bug", "message": format_exception()[-3000:]})
        os._exit(1)
    os._exit(1 if is_guardian else 0)


if __name__ == "__main__":
    main()
