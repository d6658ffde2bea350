"""Whose a process is, and programs that do not end: what is not a job's is left alone, what is ends with it."""

import json
import os
import shutil
import signal
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import RUN, pythons, run_beside_modules
from tests.sshd import wait_until


@pytest.fixture
def bystander():
    """A session leader with a child, of nobody's."""
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
    """The record's process is gone and its pid was given to another one. What carries the job's key is the job's."""
    first = agents()
    first.of("ready")
    mark = uuid.uuid4().hex
    first.start("setsid sleep 1000 & exec sleep 1000", env={"HARBOR_TEST": mark})
    pid = first.of("started")["pid"]
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
    known = second.of("known")
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
    """Processes that carry the key of this test's job."""
    wanted = f"HARBOR_JOB_KEY={RUN}/1#1".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def sleepers(seconds):
    """Processes `sleep SECONDS`, whose environment says nothing."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] == ["sleep", seconds] and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
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
def test_daemons_of_jobs_that_run_side_by_side_are_told_apart(agent, tmp_path, quiet):
    """The one that goes on keeps its own, the daemon of the other ends: at once where its job is certain, else with
    the last job to which it can belong.
    """
    mine, other = (str(10_000 + uuid.uuid4().int % 10_000_000) for _ in range(2))
    agent.start(f"(env -i setsid sleep {other} {quiet} &); until [ -e {tmp_path}/go ]; do sleep 0.05; done", "r/2")
    agent.of("started", "r/2")
    wait_until(lambda: sleepers(other), 10, "the other's daemon")
    agent.start(f"(env -i setsid sleep {mine} {quiet} &); sleep 0.3; exit 3")
    assert agent.exited()["code"] == 3
    if not quiet:
        wait_until(lambda: not sleepers(mine), 10, "its end")
    time.sleep(1.5)
    assert sleepers(other), "that belongs to a job that goes on"
    (tmp_path / "go").touch()
    assert agent.exited("r/2")["code"] == 0
    wait_until(lambda: not sleepers(mine) and not sleepers(other), 10, "the end of both")


def test_the_guardian_ends_daemons_too(agents, tmp_path):
    agent = agents()
    agent.of("ready")
    seconds = str(10_000 + uuid.uuid4().int % 10_000_000)
    agent.start(f"(env -i setsid sleep {seconds} {QUIET} &); until [ -e {tmp_path}/go ]; do sleep 0.05; done")
    wait_until(lambda: sleepers(seconds), 10, "its daemon")
    agent.kill()
    (tmp_path / "go").touch()
    wait_until(lambda: not sleepers(seconds), 15, "its end")


@pytest.mark.parametrize("grandchild", [False, True])
def test_memory_is_the_jobs_own(agent, grandchild):
    """Not the agent's, whose process the job's was before exec."""
    script = "sleep 1 & wait" if grandchild else "exec sleep 1"
    step = agent.run(script)["steps"][0]
    assert 0.2 < step["max_rss_mb"] < 8
    used = agent.run("exec python3 -c 'x = bytearray(b\"x\") * (80 << 20)'", "r/2")["steps"][0]["max_rss_mb"]
    assert 80 < used < 120


# --- programs of the node that do not end -----------------------------------------------------------------

HANGS = {
    "ignores TERM": "trap '' TERM HUP INT; while :; do sleep 0.1; done",
    "stops": "kill -STOP $$; sleep 1000",
    "leaves a child with the pipe": "echo '0, Fake, 1000'; trap '' HUP; (trap '' HUP TERM; exec sleep 1000) & exit 0",
    "floods": "yes",
    "says nothing and closes its output": "exec >&-; sleep 1000",
}


def fake(tmp_path, name, script):
    """PATH with a program of that name first."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\necho $$ >>{tmp_path}/started\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("how", HANGS)
@pytest.mark.parametrize("name", ["who"])
def test_a_program_that_hangs_does_not_hold_the_agent(agents, tmp_path, name, how):
    agent = agents(env=fake(tmp_path, name, HANGS[how]))
    agent.of("load")
    agent.send(t="ping", n=1)
    agent.of("pong")
    assert agent.run("echo fine")["tail"] == "fine\n"
    pids = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    for pid in pids:
        wait_until(lambda pid=pid: not alive_group(pid), 10, f"the end of {pid} and of what it has started")


def test_a_program_that_takes_too_long_is_not_started_again_and_again(agents, tmp_path):
    """Each time the agent would be deaf for that long."""
    agent = agents(env=fake(tmp_path, "nvidia-smi", "sleep 1000"))
    assert agent.of("hello", timeout=20)["gpus"] == []
    assert len((tmp_path / "started").read_text().split()) == 1
    assert agent.run("echo fine")["tail"] == "fine\n"


def alive_group(group):
    return [p.pid for p in psutil.process_iter() if group_of(p.pid) == group and p.status() != psutil.STATUS_ZOMBIE]


def group_of(pid):
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def test_what_a_child_leaves_open_does_not_hide_what_the_program_said(agents, tmp_path):
    agent = agents(env=fake(tmp_path, "nvidia-smi", HANGS["leaves a child with the pipe"]))
    assert agent.of("hello", timeout=8)["gpus"] == [{"index": 0, "name": "Fake", "mem_mb": 1000}]


@pytest.fixture
def freezer():
    """A control group of version 1 that holds a process so that KILL does not end it, as a broken driver does."""
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
    first.of("load", timeout=20)
    assert first.run("echo fine")["tail"] == "fine\n"
    first.close()
    second = agents(env=env)
    began = time.monotonic()
    second.of("load")
    assert time.monotonic() - began < 2
    assert len((tmp_path / "started").read_text().split()) == 1, "each would have left one more"
    (freezer / "freezer.state").write_text("THAWED")
    wait_until(lambda: not (freezer / "cgroup.procs").read_text(), 10, "its end")
    third = agents(env=fake(tmp_path, "who", "echo carol tty1"))
    assert third.of("load")["users"] == ["carol"]
    assert not list((tmp_path / "scratch").glob("hangs.*"))


# --- nodes without /proc ------------------------------------------------------------------------------------

PS = """#!{python}
import os, sys
real = {real!r}
table = []
for name in filter(str.isdigit, os.listdir(real)):
    try:
        raw = open("%s/%s/stat" % (real, name)).read()
    except OSError:
        continue
    fields = raw[raw.rindex(")") + 2 :].split()
    table.append((name, fields[1], fields[2], fields[19]))
if "-p" in sys.argv:
    for pid, parent, _, start in table:
        if pid == sys.argv[-1]:
            print(parent, "Mon Jan 1 00:00", start)
else:
    for pid, parent, group, _ in table:
        print(pid, parent, group, "0:01.50")
"""


@pytest.fixture
def without_proc(agents, tmp_path):
    """Makes agents that see an empty /proc, and a `ps` in its place, as on macOS."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    real = tmp_path / "real"
    real.mkdir()
    ps = tmp_path / "ps" / "ps"
    ps.parent.mkdir()

    def make(with_ps=True, **options):
        mounts = f"mount --rbind /proc {real} && mount -t tmpfs none /proc"
        python = shutil.which("python3")
        ps.write_text(PS.format(python=python, real=str(real)) if with_ps else "#!/bin/sh\nexit 1\n")
        ps.chmod(0o755)
        prefix = ["unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
        return agents(env={"PATH": f"{ps.parent}:{os.environ['PATH']}"}, prefix=prefix, **options)

    return make


@pytest.mark.parametrize("python", pythons()[-1:], indirect=True)
@pytest.mark.parametrize(
    ("how", "with_ps"), [("cancel", True), ("cancel", False), ("runtime", True), ("fence", False), ("end", True)]
)
def test_a_job_ends_whole_without_proc(without_proc, tmp_path, how, with_ps):
    """Its group at least; where `ps` works, also what has left the group and not its parents."""
    (tmp_path / "fence").mkdir()
    agent = without_proc(with_ps, fence=str(tmp_path / "fence"))
    assert any("no /proc" in text for text in agent.of("hello")["warnings"])
    seconds = str(10_000 + uuid.uuid4().int % 10_000_000)
    end = "sleep 0.5; exit 3" if how == "end" else "wait; echo"
    apart = f"setsid sleep {seconds} & " if with_ps and how != "end" else ""
    script = f"trap '' TERM; sleep {seconds} & {apart} {end}"
    agent.start(script, **({"runtime": 1} if how == "runtime" else {}))
    agent.of("started")
    wait_until(lambda: sleepers(seconds), 10, "its processes")
    if how == "cancel":
        agent.send(t="cancel", job="r/1", attempt=1, grace=0.2)
    elif how == "fence":
        (tmp_path / "fence" / f"{RUN}.1.1").touch()
    done = agent.exited(timeout=30)
    assert done["reason"] == {"cancel": "cancelled", "runtime": "timeout", "fence": "fenced", "end": None}[how]
    wait_until(lambda: not sleepers(seconds), 10, "nothing left")
    assert agent.run("echo fine; exit 3", "r/2")["tail"] == "fine\n"
    agent.of("load")
