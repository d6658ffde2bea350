"""Run one step of one case, on the node. This script needs Python >= 3.6 and the standard library only.

    step.py template SOURCE TARGET                             copies the template for the sweep
    step.py run SPEC TEMPLATE DIRECTORY DONE LOG ON_FAILURE    copies that for the case, then runs pre and run in it
    step.py post SPEC DIRECTORY DONE LOG ON_FAILURE            runs post in the case's directory

SPEC is JSON from `sweep_specs.step`. The output of the commands goes to `stdout` and `stderr` in the case's directory
and to LOG. It also goes to this script's own stdout and stderr at once, because it may contain progress markers. DONE
is written last. If ON_FAILURE is `record`, a step whose command fails by itself counts as done.
"""

import errno
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from case_files import copy_tree, finish, no_result, present, remove
from case_state import CaseState, node
from command_line import Unquotable, substitute

INTERPRETERS = {".py": "python3", ".sh": "bash", ".R": "Rscript", ".r": "Rscript", ".pl": "perl", ".rb": "ruby",
                ".jl": "julia"}  # fmt: skip
LOGS = ("stdout", "stderr")
# A process that a command left in the background may hold its output open. It is waited for this long (seconds).
LINGER = 2
# After TERM, a command has this time to end (seconds). Snakemake and harbor wait longer before they kill this script.
GRACE = 5
# Exit codes for TERM and KILL, and those of a shell for a program that it cannot start.
KILLED = (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGKILL)
NOT_STARTED = (126, 127)
MISSING = (
    "\n  A program or library is missing on {node}; the output names it."
    "\n  Install it there, load it with `setup` in the host file, choose other nodes by the sweep's keys `node` or "
    "`constraint`, or let another node try with --retries 1"
)


def argv(command, spec):
    """Return the argument vector of a script or a command line."""
    bash = shutil.which("bash")
    if command["script"]:
        path = os.path.abspath(command["script"])
        interpreter = INTERPRETERS.get(os.path.splitext(path)[1])
        if interpreter == "bash" and not bash:
            interpreter = "sh"
        return [interpreter, path] if interpreter else [path]
    if command.get("words"):
        # Parallel-Task-Harbor starts bash without options.
        return ["bash" if bash else "sh", "-c", with_words(command["line"], spec["values"])]
    shell = ["bash", "-o", "pipefail", "-c"] if bash else ["sh", "-c"]
    try:
        return [*shell, substitute(command["line"], spec["params"])]
    except Unquotable as error:
        raise Ended(2, f"{command['place']}: {error}: {command['line']}") from None


def with_words(line, values):
    """Return the line with each word that is a name replaced by the value, without quotes."""
    return re.sub(r"\S+", lambda word: str(values.get(word.group(), word.group())), line)


class Ended(Exception):
    """The step has to end with this exit code. `advice` follows the reason in the message."""

    def __init__(self, code, reason, advice="", step=None):
        super().__init__(reason + advice)
        self.code, self.reason, self.step = code, reason, step

    @property
    def killed(self):
        """Tell if something else has ended the step or its command: a limit, the kernel or a user."""
        return self.code in KILLED


class Failed(Ended):
    """A command has failed."""

    @property
    def by_itself(self):
        """Tell if the command itself decided to fail. It did not if it was killed, or if no node could start it."""
        return self.code not in KILLED and self.code not in NOT_STARTED


def write(fd, data):
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            # Another process that shares our stdout has made it non-blocking.
            select.select([], [fd], [])


def tell(fd, data):
    """Write to our own stdout or stderr, if it still has a reader."""
    try:
        write(fd, data)
    except OSError:
        pass


class Tee:
    """Copy a command's output as it comes, because a progress marker must not wait for a full buffer.

    If a file cannot be written any more, the command is ended with the reason. Its output is still read meanwhile,
    because a command whose output nobody reads would wait for ever.
    """

    def __init__(self, process):
        self.process = process
        self.failure = None

    def copy(self, source, files, own):
        while True:
            data = os.read(source, 65536)
            if not data:
                return
            for file in files:
                if not file.closed and not self.failure:
                    try:
                        write(file.fileno(), data)
                    except OSError as error:
                        self.failure = f"its output cannot be written to {file.name}: {error.strerror}"
                        self.process.terminate()
                        timer = threading.Timer(GRACE, self.process.kill)
                        timer.daemon = True
                        timer.start()
            if not self.failure:
                tell(own, data)


def run_command(arguments, directory, env, log):
    """Run one command in the case's directory. Return its exit code, which is negative for a signal."""
    with Path(directory, "stdout").open("ab", 0) as out, Path(directory, "stderr").open("ab", 0) as err:
        process = subprocess.Popen(
            arguments, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        tee = Tee(process)
        pumps = [
            threading.Thread(target=tee.copy, args=(process.stdout.fileno(), [out, log], 1), daemon=True),
            threading.Thread(target=tee.copy, args=(process.stderr.fileno(), [err, log], 2), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        try:
            code = process.wait()
        except Ended:
            end(process)
            raise
        for pump in pumps:
            # After a failure, a process that still writes gets a SIGPIPE when this script exits.
            pump.join(0 if tee.failure else LINGER)
        if tee.failure:
            raise Ended(1, tee.failure)
        return code


def end(process):
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def run_commands(spec, directory, log):
    """Run the commands of a step in order. Raises Ended at the first that fails."""
    # The environment is bytes, because values are UTF-8 in every locale of a node.
    env = dict(os.environb)
    env[b"CASE"] = utf8(spec["case"])
    # The shell has no variable for a name with other characters, which a sweep with `words` may have.
    known = [(name, value) for name, value in spec["params"].items() if re.fullmatch(r"\w+", name)]
    env.update((utf8("CASE_" + name), utf8(value)) for name, value in known)
    for command in spec["commands"]:
        arguments = [utf8(argument) for argument in argv(command, spec)]
        shown = command["script"] or arguments[-1].decode("utf-8", "replace")
        try:
            code = run_command(arguments, directory, env, log)
        except OSError as error:
            advice = MISSING.format(node=node()) if error.errno == errno.ENOENT else ""
            raise Failed(
                127, f"{command['place']} did not start: {reason_of(error)}", advice, step_of(command)
            ) from None
        except Ended as ended:
            raise Ended(ended.code, f"{command['place']}: {ended}: {shown[:1000]}", step=step_of(command)) from None
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            # A shell ends with this code if it has not found a program, and a program if it has not found a library.
            advice = MISSING.format(node=node()) if code == 127 else ""
            reason = f"{command['place']} {how}: {shown[:1000]}"
            raise Failed(code if code > 0 else 128 - code, reason, advice, step_of(command))


def step_of(command):
    """Return pre, run or post."""
    return command["place"].partition(",")[0]


def utf8(text):
    return text.encode("utf-8", "surrogateescape")


def keep_failed(directory):
    """Keep the directory of a case that failed, because Snakemake removes it. Return a sentence about its place."""
    kept = failed(directory)
    try:
        remove(kept)
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        os.rename(directory, kept)
    except OSError as error:
        return f"What it left could not be kept: {reason_of(error)}"
    return f"What it left is kept in {kept}"


def failed(directory):
    sweep, name = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
    return os.path.join(sweep, "failed", name)


def run_case(spec, template, directory, done, log, state, record):
    """Run a case in a fresh copy, because files of an earlier attempt must not change the result.

    If the case has a directory of its own elsewhere, `directory` becomes a link to it. With `reported`, a command that
    fails is only written to DONE, because the post-processor has to be called before the case fails. With `record`,
    this is so if the command fails by itself, and the case does not fail.
    """
    state.began()
    remove(failed(directory))
    home = spec.get("directory") or directory
    above = os.path.dirname(home)
    if home != directory and not os.path.isdir(above):
        raise Ended(1, f"{node()} has no directory {above}; it must be there on every node, at the same path")
    if spec.get("request"):
        spec = dict(spec, values=json.loads(Path(spec["request"]).read_text(encoding="utf-8"))["values"])
    copy_tree(template, home)
    if home != directory:
        remove(directory)
        os.symlink(home, directory)
    try:
        for name in LOGS:
            remove(os.path.join(home, name))
        ran = {"began": present(home)[0]}
        try:
            run_commands(spec, home, log)
        except Failed as error:
            recorded = record and error.by_itself
            if not recorded and not spec.get("reported"):
                raise
            ran.update(failed=str(error), code=error.code)
            state.failed(error.reason, error.step, error.killed, recorded)
            tell(log.fileno(), message_of(f"case {spec['case']}", error))
        else:
            state.done()
        ran["ended"] = present(home)[1]
        finish(done, json.dumps(ran))
    except (Ended, OSError) as error:
        ended = error if isinstance(error, Ended) else Ended(1, reason_of(error))
        kept = keep_failed(directory) if home == directory else f"What it left is in {home}"
        advice = str(ended)[len(ended.reason) :]
        raise Ended(ended.code, ended.reason, f"{advice}\n  {kept}", ended.step) from None


def post_case(spec, directory, done, log, state, record):
    """Run the post-processor of a case. DONE becomes a copy of the result file, if the sweep has one.

    If a command of the case has failed and was recorded, there is nothing to process.
    """
    if ran(done).get("failed"):
        finish(done, "")
        return
    state.began()
    began = present(directory)[0]
    try:
        run_commands(spec, directory, log)
    except Failed as error:
        if not record or not error.by_itself:
            raise
        tell(log.fileno(), message_of(f"case {spec['case']}", error))
        state.failed(error.reason, error.step, recorded=True)
        finish(done, "")
        return
    if not spec["result"]:
        state.done()
        finish(done, "")
        return
    result = os.fsdecode(utf8(spec["result"]))
    why = no_result(directory, result, ran(done), began)
    if why:
        raise Ended(1, f"left no {spec['result']} in {directory}: {why}")
    state.done()
    finish(done, Path(directory, result))


def ran(done):
    """Return when the case's commands began and ended, as the step `run` has written it, or an empty list."""
    steps, case = os.path.dirname(os.path.dirname(done)), os.path.basename(done)
    try:
        return json.loads(Path(steps, "run", case).read_text() or "{}")
    except OSError:
        return {}


def reason_of(error):
    return f"{error.strerror or error}{': ' + os.fsdecode(error.filename) if error.filename else ''}"


def on_signal(number, frame):
    raise Ended(128 + number, f"was ended by signal {number}")


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    for fd in range(3):
        # If stdout is closed, the next file that is opened would become stdout.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if what == "template":
        # The template is copied once, so that edits during a long run do not change later cases.
        subject = "template"
    else:
        spec = json.loads(rest[0])
        subject = f"case {spec['case']}"
    try:
        if what == "template":
            copy_tree(*rest)
        else:
            do, count = {"run": (run_case, 5), "post": (post_case, 4)}[what]
            paths, on_failure = rest[1:count], rest[count:]
            state = CaseState(what, rest[0], done=paths[-2], log=paths[-1])
            with Path(paths[-1]).open("ab", 0) as log:
                try:
                    do(spec, *paths[:-1], log, state, on_failure == ["record"])
                except (Ended, OSError) as error:
                    ended = error if isinstance(error, Ended) else Ended(1, reason_of(error))
                    state.failed(ended.reason, ended.step, ended.killed)
                    tell(log.fileno(), message_of(subject, error))
                    raise
    except (Ended, OSError) as error:
        tell(2, message_of(subject, error))
        sys.exit(error.code if isinstance(error, Ended) else 1)


def message_of(subject, error):
    return utf8(f"{subject}: {error if isinstance(error, Ended) else reason_of(error)}\n")


if __name__ == "__main__":
    main()
