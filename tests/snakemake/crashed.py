"""Jobs that wait for a file and write down each start, and controllers that are killed meanwhile."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.snakemake.harness import Run, Workdir
from tests.sshd import wait_until

AGAIN = ("--rerun-incomplete", "--nolock")
WAIT = "until [ -e {params.top}/go ]; do sleep 0.1; done; "
EFFECT = "echo {resources.tried} $HARBOR_NODE_NAME $$ >> {params.top}/effects; "
HEAD = """
import os
TOP = os.getcwd()

def tried(wildcards, attempt):
    return attempt

"""
PYTHON = """
import os, time
with open("effects", "a") as file:
    file.write("{attempt} node 0\\n")
while not os.path.exists("go"):
    time.sleep(0.1)
with open({output}, "w") as file:
    file.write("done\\n")
"""
ONE = f"""
rule one:
    output: "out"
    params: top=TOP
    resources: tried=tried
    shell: '{EFFECT}{WAIT} echo done > {{output}}'
"""


def make(project, rules: str) -> Workdir:
    target = '\nrule all:\n    input: "out"\n' if '"out"' in rules else ""
    work: Workdir = project(HEAD + target + rules)
    (work.directory / "one.py").write_text(PYTHON.format(attempt=1, output="snakemake.output[0]"))
    return work


def effects(work: Workdir) -> list[list[str]]:
    path = work.directory / "effects"
    return [line.split() for line in path.read_text().splitlines() if line.count(" ") == 2] if path.exists() else []


def crash(work: Workdir, options: Sequence[str], count: int = 1) -> Run:
    """Start a run and kill its controller while its job waits."""
    run = work.start(*options)
    wait_until(lambda: len(effects(work)) == count, 60, f"{count} executions")
    run.kill()
    return run


def finish(work: Workdir, run: Run, code: int = 0) -> None:
    (work.directory / "go").touch()
    run.wait()
    run.expect(code)


def lock(work: Workdir, age: float, **changes: object) -> Path:
    """Return a lock of another controller, whose last heartbeat was `age` seconds ago."""
    path = work.directory / ".snakemake/harbor/lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": "elsewhere", "pid": 4711, "born": time.time() - 99, "boot_id": "b", "run": "250101-000000-abcdef"}
    path.write_text(json.dumps(owner | changes))
    os.utime(path, (time.time() - age,) * 2)
    return path
