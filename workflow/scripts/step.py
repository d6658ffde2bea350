"""One step of one case, on the node that runs it: Python >= 3.6, standard library only.

    step.py template SOURCE TARGET                  the sweep's own copy of the template
    step.py run SPEC TEMPLATE DIRECTORY DONE LOG    a fresh copy of that, then pre and run in it
    step.py post SPEC DIRECTORY DONE LOG            post in the case's directory

SPEC is JSON from sweep_config.step. The commands' output goes to `stdout` and `stderr` in the case's directory, to LOG
and on to our own, so that progress markers come through while a command runs. DONE is written last.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from case_files import beside, copy_tree, no_result, present, remove
from command_line import Unquotable, substitute

INTERPRETERS = {".py": "python3", ".sh": "bash", ".R": "Rscript", ".r": "Rscript", ".pl": "perl", ".rb": "ruby",
                ".jl": "julia"}  # fmt: skip
LOGS = ("stdout", "stderr")
# A process that a command left in the background may hold its output open; waited for this long (seconds).
LINGER = 2
# A command that is to end gets this long (seconds), less than Snakemake's and harbor's own patience.
GRACE = 5


def argv(command, params):
    """The argument vector of a script or a command line."""
    bash = shutil.which("bash")
    if command["script"]:
        path = os.path.abspath(command["script"])
        interpreter = INTERPRETERS.get(os.path.splitext(path)[1])
        if interpreter == "bash" and not bash:
            interpreter = "sh"
        return [interpreter, path] if interpreter else [path]
    shell = ["bash", "-o", "pipefail", "-c"] if bash else ["sh", "-c"]
    try:
        return [*shell, substitute(command["line"], params)]
    except Unquotable as error:
        raise Ended(2, f"{command['place']}: {error}: {command['line']}") from None


class Ended(Exception):
    """The step is to end with this exit code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def write(fd, data):
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            # Somebody who shares our stdout has made it non-blocking.
            select.select([], [fd], [])


def tell(fd, data):
    """To our own stdout or stderr, if somebody is still there."""
    try:
        write(fd, data)
    except OSError:
        pass


class Tee:
    """Copies a command's output as it comes: a progress marker must not wait for a full buffer.

    When a file cannot be written any more, the command is ended with the reason; its output is read on meanwhile,
    because it would otherwise wait for us for ever.
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
    """Run one command in the case's directory; returns its exit code, negative for a signal."""
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
            # After a failure, what still writes gets a SIGPIPE when we exit.
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
    """Run the commands of a step in order; raises Ended at the first that fails."""
    # Bytes, because values are UTF-8 whatever the locale of the node is.
    env = dict(os.environb)
    env[b"CASE"] = utf8(spec["case"])
    env.update((utf8("CASE_" + name), utf8(value)) for name, value in spec["params"].items())
    for command in spec["commands"]:
        arguments = [utf8(argument) for argument in argv(command, spec["params"])]
        shown = command["script"] or arguments[-1].decode("utf-8", "replace")
        try:
            code = run_command(arguments, directory, env, log)
        except OSError as error:
            raise Ended(127, f"{command['place']} did not start: {reason_of(error)}") from None
        except Ended as ended:
            raise Ended(ended.code, f"{command['place']}: {ended}: {shown[:1000]}") from None
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise Ended(code if code > 0 else 128 - code, f"{command['place']} {how}: {shown[:1000]}")


def utf8(text):
    return text.encode("utf-8", "surrogateescape")


def keep_failed(directory):
    """Snakemake removes what a failed job leaves; a case that failed is worth a look. Returns a sentence about it."""
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


def run_case(spec, template, directory, done, log):
    """A fresh copy for each attempt: what an earlier one left must not change the result."""
    remove(failed(directory))
    copy_tree(template, directory)
    try:
        for name in LOGS:
            remove(os.path.join(directory, name))
        began = present(directory)[0]
        run_commands(spec, directory, log)
        finish(done, json.dumps({"began": began, "ended": present(directory)[1]}))
    except (Ended, OSError) as error:
        ended = error if isinstance(error, Ended) else Ended(1, reason_of(error))
        raise Ended(ended.code, f"{ended}\n  {keep_failed(directory)}") from None


def post_case(spec, directory, done, log):
    """DONE becomes a copy of the result file, if the sweep has one."""
    began = present(directory)[0]
    run_commands(spec, directory, log)
    if not spec["result"]:
        finish(done, "")
        return
    result = os.fsdecode(utf8(spec["result"]))
    why = no_result(directory, result, ran(done), began)
    if why:
        raise Ended(1, f"left no {spec['result']} in {directory}: {why}")
    finish(done, Path(directory, result))


def ran(done):
    """When the case's commands began and ended, as `run` has noted; none where it has not."""
    steps, case = os.path.dirname(os.path.dirname(done)), os.path.basename(done)
    try:
        return json.loads(Path(steps, "run", case).read_text() or "{}")
    except OSError:
        return {}


def finish(done, source):
    """Make DONE, whole or not at all: a copy of a file, or from text."""
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


def reason_of(error):
    return f"{error.strerror or error}{': ' + os.fsdecode(error.filename) if error.filename else ''}"


def on_signal(number, frame):
    raise Ended(128 + number, f"was ended by signal {number}")


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    for fd in range(3):
        # A file that we open must not become our stdout.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    if what == "template":
        # Jobs of a long run all see the same template, whatever is edited meanwhile.
        subject = "template"
    else:
        spec = json.loads(rest[0])
        subject = f"case {spec['case']}"
    try:
        if what == "template":
            copy_tree(*rest)
        else:
            with Path(rest[-1]).open("ab", 0) as log:
                try:
                    {"run": run_case, "post": post_case}[what](spec, *rest[1:-1], log)
                except (Ended, OSError) as error:
                    tell(log.fileno(), message_of(subject, error))
                    raise
    except (Ended, OSError) as error:
        tell(2, message_of(subject, error))
        sys.exit(error.code if isinstance(error, Ended) else 1)


def message_of(subject, error):
    return utf8(f"{subject}: {error if isinstance(error, Ended) else reason_of(error)}\n")


if __name__ == "__main__":
    main()
