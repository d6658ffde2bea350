"""The sweep that runs with every profile. Nothing but the profile changes."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.snakemake.harness import Run, Workdir

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "profiles"
SNAKEFILE = str(ROOT / "workflow" / "Snakefile")
BIN = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

CONFIG = r"""
sweeps:
  grid:
    template: template
    cases: [{case: a, size: 1, note: "it's"}, {case: b, size: 2, note: 'x, "y"'}]
    pre: 'echo "$CASE_note" > note.txt'
    run: ["echo $(( 7 * {size} )) > out.txt"]
    post: post.py
    result: result.json
    threads: 2
    mem_mb: 300
    disk_mb: 10
    runtime: 5
    progress: 'step (\d+) of (\d+)'
    stall_after: 100
  faulty:
    template: template
    cases: [{case: flaky}, {case: killed}]
    run: "sh $CASE.sh"
"""
FILES = {
    "config/config.yaml": CONFIG,
    # What only a batch system with such nodes can do. Snakemake merges it with the configuration.
    "pinned.yaml": 'sweeps: {faulty: {node: node3, constraint: "fast, node3", gpu: 1}}',
    # This case fails at its first attempt.
    "template/flaky.sh": 'echo "$SLURMD_NODENAME ${CUDA_VISIBLE_DEVICES-none}" >> ../../../../where\n'
    "! mkdir ../../../../tried\n",
    # The batch system, or else the shell, kills this case.
    "template/killed.sh": "echo attempt >> ../../../../killed\n"
    'if [ -n "$SLURM_JOB_ID" ]; then scancel $SLURM_JOB_ID; sleep 60; fi\n'
    'if [ -n "$PBS_JOBID$JOB_ID" ]; then qdel $PBS_JOBID$JOB_ID; sleep 60; fi\n'
    "kill -9 $$\n",
    "post.py": "import json\nresult = {'value': int(open('out.txt').read()), 'said': open('note.txt').read()}\n"
    "json.dump(result, open('result.json', 'w'))\n",
}
TABLE = '''\
case,size,note,value,said
a,1,it's,7,"it's
"
b,2,"x, ""y""",14,"x, ""y""
"
'''


Project = Callable[[str], Workdir]


def make_project(directory: Path) -> Workdir:
    work = Workdir(directory, "")
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return work


def start(work: Workdir, profile: Path, *options: str, **env: str) -> Run:
    """Start the workflow. A case that fails is tried once more, and the others go on."""
    command = ["-s", SNAKEFILE, "--profile", str(profile), "--keep-going", "--retries", "1"]
    return work.start(*command, *options, env={"PATH": BIN, **env})


def check_faulty(run: Run, work: Workdir) -> None:
    """Wait for the end of a run, and check what became of the two faulty cases."""
    assert run.wait(250) == 1, run.text[-6000:]
    assert (work.directory / "results/faulty/cases/flaky").is_dir(), run.text[-6000:]
    assert not (work.directory / "results/faulty/cases/killed").exists()
    assert (work.directory / "killed").read_text() == "attempt\nattempt\n"
    assert len(re.findall("Error in rule faulty_run", run.text)) == 3
    assert len(re.findall("Trying to restart job", run.text)) == 2
