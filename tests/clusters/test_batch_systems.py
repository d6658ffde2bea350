"""profiles/cluster-generic with the lines that are comments there, and the words by which batch systems answer."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.clusters import grid_engine, pbs
from tests.clusters.sweep import BIN, PROFILES, Project, check_faulty, start

PROFILE = PROFILES / "cluster-generic"
TARGETS = [f"results/{case}" for case in ("faulty/cases/flaky", "faulty/cases/killed", "grid/cases/a")]


def profile_for(system: str, directory: Path) -> Path:
    """Copy the profile as a user of another batch system does: without the lines for Slurm, with those in comments."""
    shutil.copytree(PROFILE, directory)
    file = directory / "config.yaml"
    lines = r"cluster-generic-submit-cmd: .*?-cancel-cmd: \w+\n"
    before, rest = re.split(f"(?s){lines}", file.read_text(), maxsplit=1)
    found = re.search(rf"(?s)# {system}\b.*?\n(# cluster-generic-submit-cmd: .*?-cancel-cmd: \w+\n)", rest)
    assert found, system
    file.write_text(before + re.sub("(?m)^# ", "", found[1]) + rest)
    return directory


@pytest.mark.timeout(300)
def test_pbs(project: Project, tmp_path: Path) -> None:
    """The commands reach the server with what the sweep asks for, and the ends of jobs come back."""
    commands = pbs.install(tmp_path / "pbs")
    work = project("work")
    profile = profile_for("PBS", tmp_path / "profile")
    run = start(work, profile, "--seconds-between-status-checks", "1", *TARGETS, PATH=f"{commands}:{BIN}")
    check_faulty(run, work)
    assert (work.directory / "results/grid/cases/a/out.txt").read_text() == "7\n"
    requests = sorted(path.read_text() for path in (tmp_path / "pbs/jobs").glob("*.request"))
    assert requests == ["select=1:ncpus=1:mem=2000mb\nwalltime=3600\n"] * 4 + [
        "select=1:ncpus=2:mem=300mb\nwalltime=300\n"
    ]


@pytest.mark.timeout(300)
def test_grid_engine(project: Project, tmp_path: Path) -> None:
    """A real Grid Engine understands the commands, and the ends of jobs come back."""
    if reason := grid_engine.missing():
        pytest.skip(reason)
    work = project("work")
    profile = profile_for("Grid Engine", tmp_path / "profile")
    with grid_engine.grid_engine(tmp_path / "sge") as cluster:
        run = start(work, profile, "--seconds-between-status-checks", "1", *TARGETS, **cluster.env)
        check_faulty(run, work)
        accounts = cluster.run("qacct", "-j")
    assert (work.directory / "results/grid/cases/a/out.txt").read_text() == "7\n"
    assert sorted(re.findall(r"(?m)^slots +(\d)", accounts)) == ["1", "1", "1", "1", "2"]
    assert "-l h_rt=300,h_vmem=150M -pe smp 2" in accounts


def test_each_system_has_a_submit_and_a_cancel_command(tmp_path: Path) -> None:
    for system, cancel in {"PBS": "qdel", "Grid Engine": "qdel", "LSF": "bkill"}.items():
        config = yaml.safe_load((profile_for(system, tmp_path / system) / "config.yaml").read_text())
        assert config["cluster-generic-cancel-cmd"] == cancel
        # A longer name of a file would be an error, because Snakemake looks for a file of this name.
        assert all(len(part) < 255 for part in config["cluster-generic-submit-cmd"].split("/")), system


def test_lsf(tmp_path: Path) -> None:
    """The id is taken out of the sentence in which bsub gives it."""
    said = "Job <4711> is submitted to default queue <normal>."
    (tmp_path / "bsub").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\necho "{said}"\n')
    (tmp_path / "bsub").chmod(0o755)
    config = yaml.safe_load((profile_for("LSF", tmp_path / "profile") / "config.yaml").read_text())
    command = config["cluster-generic-submit-cmd"]
    for name, value in {"{threads}": "2", "{resources.mem_mb}": "300", "{resources.runtime}": "5"}.items():
        command = command.replace(name, value)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        f'{command} "a b.sh"', shell=True, capture_output=True, text=True, cwd=tmp_path, env=env, check=True
    )
    assert done.stdout == "4711\n"
    asked = ["-n", "2", "-R", "span[hosts=1]", "-M", "300", "-W", "5", "a b.sh"]
    assert (tmp_path / "arguments").read_text().split("\n") == ["-o", ".snakemake/cluster_logs/%J.log", *asked, ""]


COMMANDS = {"slurm": "squeue", "lsf": "bjobs", "pbs": "qstat", "sge": "qstat"}
ANSWERS = [
    ("slurm", "PENDING", 0, "running"),
    ("slurm", "COMPLETED", 0, "success"),
    ("slurm", "TIMEOUT", 0, "failed"),
    ("slurm", "OUT_OF_MEMORY", 0, "failed"),
    ("slurm", "PREEMPTED", 0, "running"),
    ("slurm", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1, "running"),
    ("lsf", "RUN", 0, "running"),
    ("lsf", "DONE", 0, "success"),
    ("lsf", "EXIT", 0, "failed"),
    ("lsf", "LSF is down. Please wait ...", 255, "running"),
    ("pbs", "Job Id: 7\n    job_state = Q", 0, "running"),
    ("pbs", "Job Id: 7\n    job_state = C\n    exit_status = 0", 0, "success"),
    ("pbs", "Job Id: 7\n    job_state = C\n    exit_status = 271", 0, "failed"),
    ("pbs", "Job Id: 7\n    job_state = F", 0, "failed"),
    ("pbs", "qstat: cannot connect to server pbs (errno=111)", 111, "running"),
    ("sge", "job_number:                 7", 0, "running"),
    ("sge", "Following jobs do not exist: \n7\nfailed       0\nexit_status  0                   ", 0, "success"),
    ("sge", "Following jobs do not exist: \n7\nfailed       100 : after job\nexit_status  137 (Killed)", 0, "failed"),
    ("sge", "error: unable to contact qmaster using port 6444 on host", 1, "running"),
]
FORGOTTEN = [
    ("slurm", "slurm_load_jobs error: Invalid job id specified"),
    ("lsf", "Job <7> is not found"),
    ("pbs", "qstat: Unknown Job Id 7.server"),
    ("pbs", "qstat: 7.server Job has finished, use -x or -H to obtain historical job information"),
    ("sge", "Following jobs do not exist: \n7"),
]


def ask(directory: Path, system: str, answer: str, code: int) -> str:
    """Return what the status command says of job 7 if the batch system gives this answer."""
    (directory / ".snakemake/cluster_logs").mkdir(parents=True, exist_ok=True)
    script = directory / "bin" / COMMANDS[system]
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
    script.chmod(0o755)
    env = {"PATH": f"{script.parent}:{os.environ['PATH']}"}
    command = [PROFILE / f"{system}-status.sh", "7"]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(("system", "answer", "code", "word"), ANSWERS)
def test_the_answers_of_batch_systems(tmp_path: Path, system: str, answer: str, code: int, word: str) -> None:
    assert ask(tmp_path, system, answer, code) == f"{word}\n"


@pytest.mark.parametrize(("system", "answer"), FORGOTTEN)
def test_a_forgotten_job_has_a_minute_to_show_its_exit_code(tmp_path: Path, system: str, answer: str) -> None:
    assert ask(tmp_path, system, answer, 1) == "running\n"
    gone = tmp_path / ".snakemake/cluster_logs/7.gone"
    os.utime(gone, (gone.stat().st_mtime - 130,) * 2)
    assert ask(tmp_path, system, answer, 1) == "failed\n"
    (tmp_path / ".snakemake/cluster_logs/7.exit").write_text("0\n")
    assert ask(tmp_path, system, answer, 1) == "success\n"
    assert not gone.exists()
