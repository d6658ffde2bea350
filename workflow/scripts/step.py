"""One step of one case, on the node that runs it: Python >= 3.6, standard library only.

    step.py template SOURCE TARGET                  the sweep's own copy of the template
    step.py run SPEC TEMPLATE DIRECTORY DONE LOG    a fresh copy of that, then pre and run in it
    step.py post SPEC DIRECTORY DONE LOG            post in the case's directory

SPEC is JSON from sweep_config.step. The commands' output goes to `stdout` and `stderr` in the case's directory, to LOG
and on to our own, so that progress markers come through while a command runs. DONE is written last.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

INTERPRETERS = {".py": "python3", ".sh": "bash", ".R": "Rscript", ".r": "Rscript", ".pl": "perl", ".rb": "ruby",
                ".jl": "julia"}  # fmt: skip
# Snakemake's own mark in a directory that is an output.
TIMESTAMP = ".snakemake_timestamp"
# A process that a command left in the background may hold its output open; waited for this long (seconds).
LINGER = 2
# A command that is to end gets this long (seconds), less than Snakemake's and harbor's own patience.
GRACE = 5


def substitute(line, params):
    """`{name}` becomes the shell-quoted value of the parameter; every other brace stays as it is."""
    if not params:
        return line
    pattern = re.compile(r"\{(" + "|".join(map(re.escape, params)) + r")\}")
    return pattern.sub(lambda match: shlex.quote(params[match.group(1)]), line)


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
    return [*shell, substitute(command["line"], params)]


def remove(path):
    """Whatever is at a path is gone afterwards."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def copy_tree(source, target):
    """A fresh copy; links stay links, and one that leads out of the tree still leads to the same place."""
    remove(target)
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(TIMESTAMP))
    root = os.path.realpath(source)
    for folder, folders, files in os.walk(target):
        # A read-only template must not make directories that nothing can be written to, or removed from.
        os.chmod(folder, os.stat(folder).st_mode | 0o700)
        origin = os.path.join(root, os.path.relpath(folder, target))
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.isabs(os.readlink(path)):
                leads_to = os.path.normpath(os.path.join(origin, os.readlink(path)))
                if os.path.commonpath([root, leads_to]) != root:
                    os.unlink(path)
                    os.symlink(os.path.relpath(leads_to, os.path.realpath(folder)), path)


class Ended(Exception):
    """The step is to end with this exit code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def write(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def tell(fd, data):
    """To our own stdout or stderr, if somebody is still there."""
    try:
        write(fd, data)
    except OSError:
        pass


def tee(source, files, own):
    """Copy as it comes: a progress marker must not wait for a full buffer."""
    while True:
        data = os.read(source, 65536)
        if not data:
            return
        for file in files:
            if not file.closed:
                write(file.fileno(), data)
        tell(own, data)


def run_command(arguments, directory, env, log):
    """Run one command in the case's directory; returns its exit code, negative for a signal."""
    with Path(directory, "stdout").open("ab", 0) as out, Path(directory, "stderr").open("ab", 0) as err:
        process = subprocess.Popen(
            arguments, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        pumps = [
            threading.Thread(target=tee, args=(process.stdout.fileno(), [out, log], 1), daemon=True),
            threading.Thread(target=tee, args=(process.stderr.fileno(), [err, log], 2), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        try:
            code = process.wait()
        except Ended:
            end(process)
            raise
        for pump in pumps:
            pump.join(LINGER)
        return code


def end(process):
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def run_commands(spec, directory, log):
    """Run the commands of a step in order; raises Ended at the first that fails."""
    env = dict(os.environ, CASE=spec["case"])
    env.update(("CASE_" + name, value) for name, value in spec["params"].items())
    for command in spec["commands"]:
        arguments = argv(command, spec["params"])
        shown = command["script"] or arguments[-1]
        try:
            code = run_command(arguments, directory, env, log)
        except OSError as error:
            raise Ended(127, f"{command['place']} did not start: {arguments[0]}: {error.strerror}") from None
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise Ended(code if code > 0 else 128 - code, f"{command['place']} {how}: {shown}")


def keep_failed(directory):
    """Snakemake removes what a failed job leaves; a case that failed is worth a look. Returns where it is kept."""
    kept = failed(directory)
    remove(kept)
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    os.rename(directory, kept)
    return kept


def failed(directory):
    sweep, name = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
    return os.path.join(sweep, "failed", name)


def run_case(spec, template, directory, done, log):
    """A fresh copy for each attempt: what an earlier one left must not change the result."""
    remove(failed(directory))
    copy_tree(template, directory)
    try:
        run_commands(spec, directory, log)
    except Ended as end:
        raise Ended(end.code, f"{end}\n  What it left is kept in {keep_failed(directory)}") from None
    finish(done, "")


def post_case(spec, directory, done, log):
    """DONE becomes a copy of the result file, if the sweep has one."""
    run_commands(spec, directory, log)
    if not spec["result"]:
        finish(done, "")
        return
    path = os.path.join(directory, spec["result"])
    if not os.path.isfile(path):
        raise Ended(1, f"left no {spec['result']} in {directory}")
    finish(done, path)


def finish(done, source):
    part = done + ".part"
    if source:
        shutil.copyfile(source, part)
    else:
        Path(part).touch()
    os.replace(part, done)


def on_signal(number, frame):
    raise Ended(128 + number, f"was ended by signal {number}")


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "template":
        # Jobs of a long run all see the same template, whatever is edited meanwhile.
        copy_tree(*rest)
        return
    spec = json.loads(rest[0])
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    with Path(rest[-1]).open("ab", 0) as log:
        try:
            {"run": run_case, "post": post_case}[what](spec, *rest[1:-1], log)
        except Ended as end:
            message = f"case {spec['case']}: {end}\n".encode("utf-8", "surrogateescape")
            write(log.fileno(), message)
            tell(2, message)
            sys.exit(end.code)


if __name__ == "__main__":
    main()
