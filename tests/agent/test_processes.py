"""The processes of a job end with it, and processes that are not a job's are left alone."""

import json
import os
import signal
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import RUN, run_beside_modules, sleepers
from tests.sshd import wait_until


@pytest.fixture
def bystander():
    """A session leader with a child. It belongs to no job."""
    process = psutil.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True)
    wait_until(process.children, 10, "its child")
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def rewrite(record, **facts):
    with record.open("a") as f:
        f.write(json.dumps(facts) + "\n")


@pytest.mark.parametrize("how", ["lost", "cancelled", "ended"])
def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(agents, tmp_path, bystander, how):
    """The process of the record is gone, and another one has its pid. Only processes with the key are the job's."""
    first = agents()
    first.wait_for("ready")
    mark = uuid.uuid4().hex
    first.start("setsid sleep 1000 & exec sleep 1000", env={"HARBOR_TEST": mark})
    pid = first.wait_for("started")["pid"]
    wait_until(lambda: [p for p in carriers() if p != pid], 10, "its daemon")
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"pid"' in record.read_text(), 5, "the note")
    victim = first.pid
    os.kill(first.process.pid, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    if how == "ended":
        rewrite(record, code=3, end=time.time())
    elif how == "cancelled":
        rewrite(record, reason="cancelled")
    rewrite(record, pid=bystander.pid)  # and `born` is that of another process
    second = agents()
    known = second.wait_for("known")
    assert known["state"] == "exited" and known["exit"]["reason"] == {"ended": None}.get(how, how)
    if how == "lost":
        wait_until(lambda: not carriers(), 5, "the end of what carries its key")
    second.send(t="cancel", job="r/1", attempt=1, grace=0)
    second.send(t="forget", job="r/1", attempt=1)
    assert second.run("true", "r/2")["code"] == 0
    assert bystander.is_running() and len(bystander.children()) == 1
    for left in carriers():
        os.kill(left, signal.SIGKILL)


def carriers():
    """Return the processes that carry the key of this test's job."""
    wanted = f"HARBOR_JOB_KEY={RUN}/1#1".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


STARTS = """
import os, signal, time
from harbor_process_table import is_starting, job_keys_of

missed, deadline = [], time.monotonic() + 10
for number in range(100):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.execve("/bin/bash", ["bash", "-c", "kill -STOP $$"], {"HARBOR_JOB_KEY": "r/%d#1" % number})
    starting, keys = True, set()
    while starting or not keys:
        starting = is_starting(pid, os.getpid())
        keys = job_keys_of(pid)
        if not (starting or keys):
            missed.append(number)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if time.monotonic() > deadline:
        break
print(missed)
"""


def test_a_process_is_starting_or_shows_its_key_in_every_instant(python):
    """Otherwise an agent that is killed at that instant has its last job called lost, while the job goes on.

    Between the two programs of an exec there is no environment. How long that takes depends on the disk.
    """
    assert run_beside_modules(python, STARTS) == "[]\n"


def test_a_key_is_found_while_bash_reads_its_environment(python):
    """Bash puts a NUL in the place of the `=` of each variable for as long as it reads it."""
    code = """
import ctypes, os
from harbor_process_table import job_keys_of

library = ctypes.CDLL(None)
library.getenv.restype = ctypes.c_void_p
ctypes.memset(library.getenv(b"HARBOR_JOB_KEY") - 1, 0, 1)
print(job_keys_of(os.getpid()))
"""
    assert run_beside_modules(python, code, HARBOR_JOB_KEY="r/1#1") == "{b'r/1#1'}\n"


QUIET = "</dev/null >/dev/null 2>&1"
DAEMONS = {
    "with its output": "env -i setsid sleep {0} &",
    "without": f"env -i setsid sleep {{0}} {QUIET} &",
    "twice forked": f"(env -i setsid sh -c 'sleep {{0}} & sleep 0.1' {QUIET} &)",
    "after a while": f"env -i setsid sleep {{0}} {QUIET} & sleep 1.5",
}


@pytest.mark.parametrize("kind", DAEMONS)
def test_a_daemon_without_an_environment_ends_with_its_job(agent, kind):
    seconds = str(10_000 + uuid.uuid4().int % 10_000_000)
    agent.start(DAEMONS[kind].format(seconds) + f"\nuntil pgrep -f 'sleep {seconds}'; do sleep 0.05; done; exit 3")
    assert agent.exited()["code"] == 3
    wait_until(lambda: not sleepers(seconds), 10, "its end")


@pytest.mark.parametrize("quiet", ["", QUIET])
def test_daemons_of_jobs_that_run_side_by_side_are_distinguished(agent, tmp_path, quiet):
    """The daemon of a job that goes on is left alone, and the daemon of the other job ends.

    It ends at once if its job is certain, and else with the last job to which it can belong.
    """
    mine, other = (str(10_000 + uuid.uuid4().int % 10_000_000) for _ in range(2))
    agent.start(f"(env -i setsid sleep {other} {quiet} &); until [ -e {tmp_path}/go ]; do sleep 0.05; done", "r/2")
    agent.wait_for("started", "r/2")
    wait_until(lambda: sleepers(other), 10, "the other's daemon")
    agent.start(f"(env -i setsid sleep {mine} {quiet} &); sleep 0.3; exit 3")
    assert agent.exited()["code"] == 3
    if not quiet:
        wait_until(lambda: not sleepers(mine), 10, "its end")
    seen = len(agent.received)
    agent.wait(lambda _: sum(m["t"] == "load" for m in agent.received[seen:]) >= 8)  # it looks once per second
    assert sleepers(other), "that belongs to a job that goes on"
    (tmp_path / "go").touch()
    assert agent.exited("r/2")["code"] == 0
    wait_until(lambda: not sleepers(mine) and not sleepers(other), 10, "the end of both")


def test_the_guardian_ends_daemons_too(agents, tmp_path):
    agent = agents()
    agent.wait_for("ready")
    seconds = str(10_000 + uuid.uuid4().int % 10_000_000)
    agent.start(f"(env -i setsid sleep {seconds} {QUIET} &); until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    wait_until(lambda: sleepers(seconds), 10, "its daemon")
    agent.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: not sleepers(seconds), 15, "its end")


@pytest.mark.parametrize("grandchild", [False, True])
def test_memory_is_the_jobs_own(agent, grandchild):
    """The memory of the agent is not counted, although the job's process was a fork of the agent before its exec."""
    script = "sleep 1 & wait" if grandchild else "exec sleep 1"
    step = agent.run(script)["steps"][0]
    assert 0.2 < step["max_rss_mb"] < 8
    used = agent.run("exec python3 -c 'x = bytearray(b\"x\") * (80 << 20)'", "r/2")["steps"][0]["max_rss_mb"]
    assert 80 < used < 120
