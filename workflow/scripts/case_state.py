"""Keep what is known of a case in results/NAME/.steps/state/CASE: its last step, and how that ended.

step.py writes this file on the node and processors.py on the controller. collect.py and partial_table.py read it. This
module needs Python >= 3.6 and the standard library only.

The file is JSON. `state` is running, done or failed. `reason` says why the step failed. `killed` is true if something
else has ended the step, because harbor or a batch system may know a better reason then. `recorded` is true if the step
counts as done although a command failed (`on_failure: record`). `specs` has a hash of what each step had to do that is
done, and `last` that of the last one.
"""

import hashlib
import json
import os
import socket
from pathlib import Path

from case_files import finish


def state_file(steps, case):
    return os.path.join(steps, "state", case)


def read_state(steps, case):
    """Return what is known of a case, or an empty dict."""
    try:
        found = json.loads(Path(state_file(steps, case)).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_state(steps, case, state):
    """Replace what is known of a case."""
    path = state_file(steps, case)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    finish(path, json.dumps(state))


def hash_of(spec):
    """Return a short hash of what a step has to do. `spec` is an argument of the command line."""
    return hashlib.sha256(spec.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def node():
    return os.environ.get("HARBOR_NODE_NAME") or socket.gethostname()


class CaseState:
    """Writes the state of a case while one of its steps runs. `done` is the file that marks the step as done."""

    def __init__(self, step, spec, done, log):
        self.steps, self.case = os.path.dirname(os.path.dirname(done)), os.path.basename(done)
        self.step, self.spec, self.log = step, hash_of(spec), log
        # The step `run` begins anew, so nothing of earlier steps holds any more.
        self.specs = {} if step != "post" else dict(read_state(self.steps, self.case).get("specs") or {})

    def began(self):
        self.write(state="running")

    def done(self):
        self.specs[self.step] = self.spec
        self.write(state="done")

    def failed(self, reason, step=None, killed=False, recorded=False):
        """Write that the step has failed. `step` may name a part of it."""
        if recorded:
            self.specs[self.step] = self.spec
        text = " ".join(reason.split())
        try:
            self.write(state="failed", step=step or self.step, reason=text, killed=killed, recorded=recorded)
        except OSError:
            # The disk may be full. The reason is in the log and in the output.
            pass

    def write(self, **known):
        specs = {"specs": self.specs, "last": {self.step: self.spec}}
        write_state(self.steps, self.case, {"step": self.step, "node": node(), "log": self.log, **specs, **known})
