"""One step of one case: copy the template, then run commands in the case's directory.

Runs on nodes: Python >= 3.6, standard library only. Called as `python3 step.py SPEC`, SPEC being JSON from
sweep_config.step. The commands' output goes to `stdout` and `stderr` in the case's directory and on to our own, so that
progress markers come through while a command runs.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading

INTERPRETERS = {".py": ["python3"], ".sh": ["sh"], ".R": ["Rscript"], ".r": ["Rscript"], ".pl": ["perl"],
                ".rb": ["ruby"], ".jl": ["julia"]}  # fmt: skip


def substitute(line, params):
    """`{name}` becomes the shell-quoted value of the parameter; every other brace stays as it is."""
    if not params:
        return line
    pattern = re.compile(r"\{(%s)\}" % "|".join(map(re.escape, params)))
    return pattern.sub(lambda match: shlex.quote(params[match.group(1)]), line)


def argv(command, params):
    """The argument vector of a script or a command line."""
    if command["script"]:
        path = os.path.abspath(command["script"])
        interpreter = INTERPRETERS.get(os.path.splitext(path)[1], [])
        if interpreter == ["sh"] and shutil.which("bash"):
            interpreter = ["bash"]
        return interpreter + [path]
    shell = ["bash", "-o", "pipefail", "-c"] if shutil.which("bash") else ["sh", "-c"]
    return shell + [substitute(command["line"], params)]


def copy_template(template, directory):
    """A fresh copy: what an earlier attempt left is removed."""
    if os.path.islink(directory) or os.path.isfile(directory):
        os.unlink(directory)
    elif os.path.isdir(directory):
        shutil.rmtree(directory)
    shutil.copytree(template, directory, symlinks=True)


def tee(source, targets):
    """Copy as it comes: a progress marker must not wait for a full buffer."""
    while True:
        data = os.read(source.fileno(), 65536)
        if not data:
            return
        for target in targets:
            target.write(data)
            target.flush()


def run(command, spec):
    """Run one command in the case's directory; returns its exit code."""
    directory = spec["directory"]
    env = dict(os.environ, CASE=spec["case"])
    env.update(("CASE_" + name, value) for name, value in spec["params"].items())
    arguments = argv(command, spec["params"])
    with open(os.path.join(directory, "stdout"), "ab") as out, open(os.path.join(directory, "stderr"), "ab") as err:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            sys.stderr.write("%s: %s\n" % (arguments[0], error.strerror))
            return 127
        other = threading.Thread(target=tee, args=(process.stderr, [err, sys.stderr.buffer]))
        other.start()
        tee(process.stdout, [out, sys.stdout.buffer])
        other.join()
        return process.wait()


def main():
    spec = json.loads(sys.argv[1])
    if spec["template"] is not None:
        copy_template(spec["template"], spec["directory"])
    for number, command in enumerate(spec["commands"], 1):
        code = run(command, spec)
        if code != 0:
            shown = command["script"] or substitute(command["line"], spec["params"])
            how = "was killed by signal %d" % -code if code < 0 else "ended with exit code %d" % code
            place = (spec["case"], spec["step"], number, len(spec["commands"]))
            sys.stderr.write("case %s, %s, command %d of %d %s: %s\n" % (place + (how, shown)))
            sys.exit(code if code > 0 else 128 - code)
    result = spec.get("result")
    if result and not os.path.isfile(os.path.join(spec["directory"], result)):
        sys.exit("case %s left no %s in %s" % (spec["case"], result, os.path.abspath(spec["directory"])))


if __name__ == "__main__":
    main()
