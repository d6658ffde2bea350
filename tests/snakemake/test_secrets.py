"""No secret of the controller reaches a node, an argument vector, the journal or a log; declared variables arrive."""

import os
from pathlib import Path

import psutil
import pytest

from tests.snakemake.harness import on
from tests.sshd import wait_until

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hunter2-aws",
    "SNAKEMAKE_HARBOR_PASSWORD": "hunter2-harbor",
    "SNAKEMAKE_STORAGE_S3_PASSWORD": "hunter2-storage",
}
DECLARED = {"QUOTES": 'it\'s "quoted"', "LINES": "one\ntwo", "DOLLAR": "$HOME `id` $(id) \\", "UNICODE": "grün ☃"}
SNAKEFILE = """
    envvars: "QUOTES", "LINES", "DOLLAR", "UNICODE"

    rule all:
        output: "seen"
        shell: "env -0 > {output}; until [ -e go ]; do sleep 0.1; done"
"""


@pytest.mark.parametrize("dispatch", ["direct", "snakemake"])
def test_over_ssh(project, pool, dispatch):
    work = project(SNAKEFILE)
    run = work.start(*on(pool, "node1"), "--harbor-dispatch", dispatch, env={**SECRETS, **DECLARED})
    wait_until((work.directory / "seen").exists, 90, "the job's environment")
    commands = "\0".join(" ".join(_arguments(process)) for process in psutil.process_iter())
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    seen = dict(item.split("=", 1) for item in (work.directory / "seen").read_bytes().decode().split("\0") if item)
    assert {name: seen.get(name) for name in DECLARED} == DECLARED
    assert not set(SECRETS) & set(seen)
    assert "hunter2" not in "".join(seen.values())
    assert not any(secret in commands for secret in SECRETS.values()), "argv of every process of this machine"
    assert not any(b"hunter2" in _content(path) for path in _files(work.directory))


def test_on_localhost_a_job_has_the_users_environment_less_the_password(project, pool):
    work = project(SNAKEFILE)
    (work.directory / "go").touch()
    work.run("--executor", "harbor", "--jobs", "2", env={**SECRETS, **DECLARED}).expect(0)
    seen = dict(item.split("=", 1) for item in (work.directory / "seen").read_bytes().decode().split("\0") if item)
    assert seen["AWS_SECRET_ACCESS_KEY"] == "hunter2-aws"
    assert "SNAKEMAKE_HARBOR_PASSWORD" not in seen
    assert {name: seen.get(name) for name in DECLARED} == DECLARED


def test_a_password_on_the_command_line_is_refused(project, pool):
    work = project(SNAKEFILE)
    run = work.run(*on(pool, "node1"), "--harbor-password", "hunter2", env=DECLARED).expect(1)
    assert "can be read by everybody" in run.text and not (work.directory / "seen").exists()
    assert "File " not in run.text.split("WorkflowError")[-1].split("HarborError")[-1], "no traceback"


@pytest.mark.parametrize("spelled", ["--harbor-passwor=hunter2-spelled", "--harbor-p hunter2-spelled", "profile"])
def test_no_spelling_and_no_profile_gets_it_into_a_log(project, pool, spelled):
    work = project(SNAKEFILE)
    options = spelled.split()
    if spelled == "profile":
        (work.directory.parent / "profile").mkdir()
        (work.directory.parent / "profile/config.yaml").write_text("harbor-password: hunter2-spelled\n")
        options = ["--profile", "../profile"]
    run = work.run(*on(pool, "node1"), *options, env=DECLARED).expect(1)
    assert "from the environment only" in run.text and "Traceback" not in run.text
    assert not any(b"hunter2-spelled" in _content(path) for path in _files(work.directory))


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _files(directory: Path) -> list[Path]:
    """Return all files of the run: the working directory, its journal, the nodes' spool."""
    trees = (each for root in (directory, f"/var/tmp/harbor-{os.getuid()}") for each in os.walk(root))
    return [path for parent, _, names in trees for name in names if (path := Path(parent, name)).is_file()]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.stat().st_mtime > _since else b""
    except FileNotFoundError:
        return b""  # it belonged to another test and is removed


_since = psutil.Process().create_time()
