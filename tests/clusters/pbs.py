"""The commands qsub, qstat and qdel of a batch system with the interface of OpenPBS. It runs jobs on this machine.

`install` writes the three commands. A job is a process in a session of its own, in the user's home directory, with its
output in a file. The server forgets a job that has ended, as OpenPBS does without job_history_enable. It remembers a
job that qdel has ended, because a test of a forgotten job without exit code would take a minute.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

JOBS = Path(os.environ.get("PBS_TEST_JOBS", "."))
"""A directory with a file ID.pid for each job, and a file ID.exit for each job that has ended."""
DELETED = "271"
"""The exit status of a job that qdel has ended."""


def install(directory: Path) -> Path:
    """Write the commands and return the directory that has to be in PATH."""
    (directory / "bin").mkdir(parents=True)
    (directory / "jobs").mkdir()
    for name in ("qsub", "qstat", "qdel"):
        command = directory / "bin" / name
        command.write_text(
            f'#!/bin/sh\nPBS_TEST_JOBS={directory}/jobs exec {sys.executable} -S {__file__} {name} "$@"\n'
        )
        command.chmod(0o755)
    return directory / "bin"


def qsub(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("qsub")
    parser.add_argument("-V", action="store_true", required=True)
    parser.add_argument("-j", choices=["oe"], required=True)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("-l", action="append", required=True)
    parser.add_argument("script", type=Path)
    given = parser.parse_args(arguments)
    id = f"{os.getpid()}.server"
    (JOBS / f"{id}.request").write_text("\n".join(given.l) + "\n")
    script = JOBS / f"{id}.sh"  # the server has a copy of the script
    script.write_text(given.script.read_text())
    runner = f"sh {script}; echo $? > {JOBS}/{id}.exit"
    with (given.o / f"{id}.OU").open("wb") as out:
        environment = {**os.environ, "PBS_JOBID": id, "PBS_O_WORKDIR": str(Path.cwd())}
        job = subprocess.Popen(
            ["setsid", "sh", "-c", runner],
            cwd=Path.home(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
        )
    (JOBS / f"{id}.pid").write_text(str(job.pid))
    print(id)
    return 0


def qstat(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("qstat")
    parser.add_argument("-x", action="store_true")
    parser.add_argument("-f", action="store_true", required=True)
    parser.add_argument("id")
    given = parser.parse_args(arguments)
    end = JOBS / f"{given.id}.exit"
    code = end.read_text().strip() if end.exists() else None
    if not (JOBS / f"{given.id}.pid").exists() or code not in (None, DELETED):
        print(f"qstat: Unknown Job Id {given.id}", file=sys.stderr)
        return 153
    if code is None:
        print(f"Job Id: {given.id}\n    job_state = R")
        return 0
    if not given.x:
        print(f"qstat: {given.id} Job has finished, use -x or -H to obtain historical job information", file=sys.stderr)
        return 35
    print(f"Job Id: {given.id}\n    job_state = F\n    Exit_status = {code}")
    return 0


def qdel(arguments: list[str]) -> int:
    for id in arguments:
        (JOBS / f"{id}.exit").write_text(DELETED)  # before the kill, because a job may end itself by qdel
        os.killpg(int((JOBS / f"{id}.pid").read_text()), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit({"qsub": qsub, "qstat": qstat, "qdel": qdel}[sys.argv[1]](sys.argv[2:]))
