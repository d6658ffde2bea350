"""A controller is killed, and the same command runs again, but something has changed. No job runs twice at once.

Changed are the path, the host name, the host list, the scratch directory, or `.snakemake`, or the directory is a copy.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.snakemake.crashed import AGAIN, effects, lock
from tests.snakemake.harness import Run, Workdir, on, processes_in
from tests.sshd import hosts, wait_until

# The paths are relative, so that the effects are the same wherever the directory is.
PLAIN = """
rule all:
    input: "out"

rule one:
    output: "out"
    shell: "echo 1 $HARBOR_NODE_NAME $$ >> effects; until [ -e go ]; do sleep 0.1; done; echo done > {output}"
"""
UNMARKED = (
    PLAIN.replace('    output: "out"\n', "")
    .replace("{output}", "out")
    .replace('    input: "out"\n\nrule one', '    input: "never"\n\nrule one')
)


def local(directory: Path, *options: str) -> list[str]:
    """Return the options for a run on this machine alone, with records of its own."""
    scratch = ("--harbor-scratch", str(directory / "scratch"))
    return ["--executor", "harbor", "--jobs", "9", "--harbor-max-load", "50", "--harbor-hosts", "2/localhost", *scratch,
            *AGAIN, *options]  # fmt: skip


def crash(work: Workdir, options: list[str], count: int = 1) -> Run:
    run = work.start(*options)
    wait_until(lambda: len(effects(work)) == count, 90, f"{count} executions")
    run.kill()
    return run


def alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def finish(work: Workdir, run: Run) -> None:
    (work.directory / "go").touch()
    run.wait(90)
    run.expect()
    assert (work.directory / "out").read_text() == "done\n"


def in_guise(work: Workdir, directory: Path, options: list[str], *prefix: str, **env: str) -> Run:
    """Start Snakemake in a directory as it is typed, behind other commands."""
    log = directory.parent / f"guise-{time.monotonic_ns()}.log"
    command = [*prefix, sys.executable, "-m", "snakemake", "--nocolor", *options]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=directory, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
            env={**os.environ, "PWD": str(directory), **env}, start_new_session=True,
        )  # fmt: skip
    work.runs.append(process)
    return Run(process, log)


def test_a_directory_that_is_reached_through_a_link(project, tmp_path):
    work = project(PLAIN)
    options = local(tmp_path)
    crash(work, options)
    link = tmp_path / "link"
    link.symlink_to(work.directory)
    again = in_guise(work, link, options)
    again.until("adopted .* on localhost", 60)
    finish(work, again)
    assert len(effects(work)) == 1


def test_a_controller_with_another_host_name_takes_a_stale_lock_over(project, tmp_path):
    """The name of a laptop changes, or another machine uses the directory, 60 s after the controller was killed."""
    if subprocess.run(["unshare", "--uts", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no UTS namespaces here")
    work = project(PLAIN)
    options = local(tmp_path)
    crash(work, options)
    lock(work, 600, host=socket.gethostname(), boot_id="another")
    shell = 'hostname renamed-for-a-test; exec "$@"'
    again = in_guise(work, work.directory, options, "unshare", "--uts", "sh", "-c", shell, "sh")
    again.until("adopted .* on localhost", 60)
    finish(work, again)
    assert len(effects(work)) == 1


def test_a_copy_of_the_directory_is_another_one(project, tmp_path):
    """This holds while the controller of the original runs, too."""
    work = project(PLAIN)
    options = local(tmp_path)
    run = work.start(*options)
    wait_until(lambda: effects(work), 90, "the job")
    subprocess.run(["cp", "-a", str(work.directory), str(tmp_path / "copy")], check=True)
    copy = Workdir(tmp_path / "copy", PLAIN)
    try:
        (copy.directory / "go").touch()
        copy.run(*options, timeout=90).expect()
        assert len(effects(copy)) == 2, "the line that was copied, and its own"
        assert alive(effects(work)[0][2]), "the original's job is left alone"
        ids = [json.loads((one.directory / ".snakemake/harbor/id").read_text())["id"] for one in (work, copy)]
        assert ids[0] != ids[1]
    finally:
        copy.close()
    run.kill()
    again = work.start(*options)
    again.until("adopted .* on localhost", 60)
    finish(work, again)
    assert len(effects(work)) == 1


def test_what_runs_ends_before_the_jobs_of_a_deleted_snakemake_start_again(project, tmp_path):
    work = project(PLAIN)
    options = local(tmp_path)
    crash(work, options)
    shutil.rmtree(work.directory / ".snakemake")
    # The job's own agent sees the directory's new id within two seconds. If it ends the job before the new controller
    # has asked the node, there is nothing to say.
    agent = psutil.Process(int(effects(work)[0][2])).parent()
    agent.suspend()
    try:
        again = work.start(*options)
        again.until("node localhost still runs 1 jobs that were started in this directory before its .snakemake", 60)
        assert len(effects(work)) == 1
    finally:
        agent.resume()
    wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
    assert not alive(effects(work)[0][2]), "the old one has ended before"
    finish(work, again)


def test_a_deleted_snakemake_while_its_controller_runs(project, tmp_path):
    """The controller restores the files that it needs, so a second controller is refused."""
    work = project(PLAIN)
    options = local(tmp_path)
    run = work.start(*options)
    wait_until(lambda: effects(work), 90, "the job")
    owner = json.loads((work.directory / ".snakemake/harbor/id").read_text())["id"]
    # A deletion takes its time, and the controller may write a file meanwhile. A rename is one step.
    (work.directory / ".snakemake").rename(tmp_path / "deleted")
    wait_until((work.directory / ".snakemake/harbor/lock").exists, 30, "the lock")
    second = work.run(*options, timeout=90).expect(1)
    assert "another harbor controller" in second.text
    assert json.loads((work.directory / ".snakemake/harbor/id").read_text())["id"] == owner
    finish(work, run)
    assert len(effects(work)) == 1


def test_another_scratch_directory(project, tmp_path):
    work = project(PLAIN)
    crash(work, local(tmp_path))
    (tmp_path / "other").mkdir()
    again = work.start(*local(tmp_path / "other", "--harbor-fence-wait", "5"))
    wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
    assert not alive(effects(work)[0][2]), "the old one was fenced and has ended before"
    finish(work, again)


@pytest.mark.parametrize("ended", [False, True], ids=["runs", "ended"])
def test_a_host_that_was_taken_out_of_the_list(project, pool, tmp_path, ended):
    work = project(PLAIN)
    crash(work, [*on(pool, "1/node1"), *AGAIN, "--harbor-scratch", str(tmp_path / "one")])
    if ended:
        (work.directory / "go").touch()
        wait_until(lambda: work.files(".snakemake/harbor/fence/*.word"), 30, "the notice of its end")
    options = ("--harbor-scratch", str(tmp_path / "two"), "--harbor-fence-wait", "5")
    again = work.start(*on(pool, "1/node2"), *AGAIN, *options)
    if ended:
        again.until("has ended on node1", 60)
    else:
        wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
        assert not alive(effects(work)[0][2]), "the old one was fenced and has ended before"
    finish(work, again)
    assert len(effects(work)) == (1 if ended else 2)


def test_an_end_is_worth_nothing_once_its_outputs_were_deleted(project, pool, tmp_path):
    work = project(PLAIN)
    crash(work, [*on(pool, "1/node1"), *AGAIN, "--harbor-scratch", str(tmp_path / "one")])
    (work.directory / "go").touch()
    wait_until(lambda: work.files(".snakemake/harbor/fence/*.word"), 30, "the notice of its end")
    (work.directory / "out").unlink()
    again = work.run(*on(pool, "1/node2"), *AGAIN, "--harbor-scratch", str(tmp_path / "two"), timeout=90)
    again.expect()
    assert len(effects(work)) == 2 and work.files("out")


def silent(work: Workdir, tmp_path: Path, pool, *options: str) -> tuple[list[str], list[str]]:
    """Return the options for node1 and node2 with a scratch directory each, and the targets."""
    text = "".join(f"{name}: {{scratch: {tmp_path / name}, slots: 1}}\n" for name in ("node1", "node2"))
    (tmp_path / "hosts.yaml").write_text(text)
    return [*on(pool)[:-2], "--harbor-hostfile", str(tmp_path / "hosts.yaml"), *AGAIN, *options]


def test_a_job_without_outputs_waits_for_the_silent_node_that_may_run_it(project, tmp_path):
    work = project(UNMARKED)
    with hosts(2, tmp_path / "sshd") as pool:
        options = silent(work, tmp_path, pool, "--harbor-lost-after", "60", "one")
        crash(work, options)
        (effect,) = effects(work)
        pool[effect[1]].stop()
        again = work.start(*options)
        again.until(f"node {effect[1]} is not used", 60)
        wait_until(lambda: "may still run it" in work.harbor("explain", "one").stdout, 30, "explain")
        assert effects(work) == [effect], "it is not started elsewhere"
        pool[effect[1]].start()
        again.until(f"adopted .* is running on {effect[1]}", 90)
        finish(work, again)
    assert effects(work) == [effect]


def test_what_ctrl_c_has_ended_starts_at_once_though_its_node_is_off(project, tmp_path):
    work = project(PLAIN)
    with hosts(2, tmp_path / "sshd") as pool:
        options = silent(work, tmp_path, pool, "--harbor-lost-after", "600", "--harbor-fence-wait", "600")
        run = work.start(*options)
        wait_until(lambda: effects(work), 90, "the job")
        run.signal(signal.SIGINT)
        run.wait()
        (effect,) = effects(work)
        assert not processes_in(work.directory)
        pool[effect[1]].stop()
        again = work.start(*options)
        wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
        finish(work, again)
