"""Programs of the node that hang do not hold the agent, and are not started again."""

import os
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.sshd import wait_until

HANGS = {
    "ignores TERM": "trap '' TERM HUP INT; while :; do sleep 0.1; done",
    "stops": "kill -STOP $$; sleep 1000",
    "leaves a child with the pipe": "echo '0, Fake, 1000'; trap '' HUP; (trap '' HUP TERM; exec sleep 1000) & exit 0",
    "floods": "yes",
    "says nothing and closes its output": "exec >&-; sleep 1000",
}


def fake(tmp_path, name, script):
    """Return an environment whose PATH finds a program of that name first."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\necho $$ >>{tmp_path}/started\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("how", HANGS)
@pytest.mark.parametrize("name", ["who"])
def test_a_program_that_hangs_does_not_hold_the_agent(agents, tmp_path, name, how):
    agent = agents(env=fake(tmp_path, name, HANGS[how]))
    agent.wait_for("load")
    agent.send(t="ping", n=1)
    agent.wait_for("pong")
    assert agent.run("echo fine")["tail"] == "fine\n"
    pids = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    for pid in pids:
        wait_until(lambda pid=pid: not alive_group(pid), 10, f"the end of {pid} and of what it has started")


def test_a_program_that_takes_too_long_is_not_started_again_and_again(agents, tmp_path):
    """The agent would not answer for that long each time."""
    agent = agents(env=fake(tmp_path, "nvidia-smi", "sleep 1000"))
    assert agent.wait_for("hello", timeout=20)["gpus"] == []
    assert len((tmp_path / "started").read_text().split()) == 1
    assert agent.run("echo fine")["tail"] == "fine\n"


def alive_group(group):
    return [p.pid for p in psutil.process_iter() if group_of(p.pid) == group and p.status() != psutil.STATUS_ZOMBIE]


def group_of(pid):
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def test_the_output_of_a_program_is_read_although_its_child_keeps_the_pipe_open(agents, tmp_path):
    agent = agents(env=fake(tmp_path, "nvidia-smi", HANGS["leaves a child with the pipe"]))
    assert agent.wait_for("hello", timeout=8)["gpus"] == [{"index": 0, "name": "Fake", "mem_mb": 1000}]


@pytest.fixture
def freezer():
    """A control group of version 1 that stops a process so that KILL does not end it, as a broken driver does."""
    path = Path("/sys/fs/cgroup/freezer") / f"harbor-test-{uuid.uuid4().hex[:6]}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no freezer of version 1 here: {error}")
    yield path
    (path / "freezer.state").write_text("THAWED")
    wait_until(lambda: not (path / "cgroup.procs").read_text(), 10, "its end")
    path.rmdir()


def test_a_program_that_cannot_be_killed_is_given_up_and_not_started_again(agents, tmp_path, freezer):
    script = f"echo $$ >{freezer}/cgroup.procs; echo FROZEN >{freezer}/freezer.state; sleep 1000"
    env = fake(tmp_path, "who", script)
    first = agents(env=env)
    first.wait_for("load", timeout=20)
    assert first.run("echo fine")["tail"] == "fine\n"
    first.close()
    second = agents(env=env)
    began = time.monotonic()
    second.wait_for("load")
    assert time.monotonic() - began < 2
    assert len((tmp_path / "started").read_text().split()) == 1, "each would have left one more"
    (freezer / "freezer.state").write_text("THAWED")
    wait_until(lambda: not (freezer / "cgroup.procs").read_text(), 10, "its end")
    third = agents(env=fake(tmp_path, "who", "echo carol tty1"))
    assert third.wait_for("load")["users"] == ["carol"]
    assert not list((tmp_path / "scratch").glob("hangs.*"))
