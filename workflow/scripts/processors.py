"""Call the classes PreProcessor and PostProcessor that users have written for Parallel-Task-Harbor, on the controller.

    processors.py generate                               runs generateRequest for all cases: JSON on stdin and stdout
    processors.py pre SPEC PREPARED REQUEST LOG          runs modifyPrior; what it has made becomes PREPARED
    processors.py post SPEC RAN DONE LOG                 runs postProcess; fails if the case has failed

SPEC is JSON from `sweep_specs.step`. Modules are imported from the working directory. One class runs at a time,
because Parallel-Task-Harbor calls them one after the other. Each call has a process and an object of its own.
"""

import contextlib
import fcntl
import importlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

import src_stand_in
from case_files import finish, remove
from case_state import CaseState

LOCK = ".snakemake/sweep/processors.lock"
# Its value is the start of the run, which a PostProcessor gets as its key.
KEY = "HARBOR_SWEEP_KEY"


class Fault(Exception):
    """The case fails, with this sentence."""


class CommandFailed(Fault):
    """A command of the case had failed. step.py has written why into the state of the case."""


def new(module, name, argument):
    """Return an object of the user's class."""
    sys.path.insert(0, os.getcwd())
    with blamed(f"the module {module}"):
        src_stand_in.install()
        found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise Fault(f"the module {module} has no class {name}")
    with blamed(f"{name} of {module}"):
        return found(argument)


@contextlib.contextmanager
def blamed(what):
    """Turn an exception of the user's code into a sentence with its place. The traceback goes to the log."""
    here = os.getcwd()
    try:
        yield
    except (Exception, SystemExit) as error:
        # Few calls need this module, and each call is a process of its own.
        import traceback

        traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(("<", os.path.dirname(__file__) + os.sep))]
        place = f" ({os.path.relpath(own[-1].filename, here)}:{own[-1].lineno})" if own else ""
        raise Fault(f"{what} failed: {type(error).__name__}: {error}{place}") from None
    finally:
        # A processor may change the working directory.
        os.chdir(here)


def pushed(processor, module, case, values):
    """Return the requests that generateRequest pushes for a case."""
    with blamed(f"generateRequest of {module} for the case {case}"):
        processor.generateRequest(case, dict(values))
        return [processor.pullRequest() for _ in range(processor.getReqNum())]


def contents(request, names=()):
    """Return the values and copies of a request as JSON can hold them."""
    values = getattr(request, "req_dict", None)
    if not isinstance(values, dict):
        values = {name: request.getValue(name) for name in names}
        values = {name: value for name, value in values.items() if value != "N"}
    copies = getattr(request, "cp_dict", None)
    return {"values": values, "copies": copies if isinstance(copies, dict) else {}}


def generate(asked):
    module = asked["module"]
    processor = new(module, "PreProcessor", dict(asked["paths"]))
    found = []
    for case, values in asked["cases"]:
        names = (*values, *asked["paths"], "REQ_NAME", "TARGET_SCENARIO", "TARGET_DIR")
        found.append([contents(request, names) for request in pushed(processor, module, case, values)])
    return found


def pre(spec, prepared, request_file):
    """Make the directory of a case, and move it to PREPARED, of which each attempt of the case gets a fresh copy."""
    module, (case, number) = spec["module"], spec["of"]
    processor = new(module, "PreProcessor", dict(spec["paths"]))
    requests = pushed(processor, module, case, spec["params"])
    if len(requests) <= number:
        raise Fault(f"generateRequest of {module} has pushed {len(requests)} requests now, and more before")
    request = requests[number]
    with blamed(f"modifyPrior of {module}"):
        processor.modifyPrior(request)
    found = contents(request, spec["names"])
    target = spec["directory"]
    if os.path.normpath(str(found["values"].get("TARGET_DIR"))) != target:
        raise Fault(f"TARGET_DIR is {found['values'].get('TARGET_DIR')!r} now, and was {target!r} before")
    if not os.path.isdir(target):
        raise Fault(f"modifyPrior of {module} has not made the directory {target}")
    remove(prepared)
    shutil.move(target, prepared)
    finish(request_file, as_json(found))


def post(spec, ran_file, done):
    """Call postProcess, and then fail if the commands of the case have failed."""
    ran = json.loads(Path(ran_file).read_text())
    found = json.loads(Path(spec["file"]).read_text()) if spec["file"] else spec
    failed = ran.get("failed")
    try:
        processor = new(spec["module"], "PostProcessor", os.environ.get(KEY) or time.strftime("%Y%m%d_%H%M"))
        request = importlib.import_module("src").Request(found["values"], found["copies"])
        with blamed(f"postProcess of {spec['module']}"):
            processor.postProcess(request)
    except Fault as fault:
        if failed:
            fault = CommandFailed(f"{failed}\n  {fault}")
        raise fault from None
    finally:
        if failed:
            # The case has to run again in the next run of Snakemake.
            remove(ran_file)
    if failed:
        raise CommandFailed(failed)
    finish(done, "")


def as_json(found):
    return json.dumps(found, default=str)


@contextlib.contextmanager
def alone():
    """Wait until no other processor runs."""
    os.makedirs(os.path.dirname(LOCK), exist_ok=True)
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    what, *rest = sys.argv[1:]
    answer, messages = os.dup(1), os.dup(2)
    if what == "generate":
        subject, log = "", os.open(os.devnull, os.O_WRONLY)
    else:
        spec, log = json.loads(rest[0]), os.open(rest[-1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        subject = f"case {spec['case']}: "
        state = CaseState(what, rest[0], done=rest[1] if what == "pre" else rest[2], log=rest[-1])
    # What a class prints goes to the log.
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        if what == "generate":
            text = as_json(generate(json.load(sys.stdin)))
            with os.fdopen(answer, "w") as out:
                out.write(text)
        else:
            with alone():
                {"pre": pre, "post": post}[what](spec, *rest[1:-1])
                state.done()
    except (Fault, OSError) as error:
        if subject and not isinstance(error, CommandFailed):
            state.failed(str(error))
        sentence = f"{subject}{error}\n".encode("utf-8", "replace")
        sys.stdout.flush()
        os.write(log, sentence)
        os.write(messages, sentence)
        sys.exit(1)


if __name__ == "__main__":
    main()
