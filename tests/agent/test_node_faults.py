"""Jobs fail because of the node: it has lost the working directory, or it is shutting down."""

import os
import shutil
import signal
import time
from contextlib import suppress

import psutil
import pytest

from tests.agent.conftest import RUN, Agent, pythons
from tests.sshd import wait_until


@pytest.fixture
def place(tmp_path):
    """A working directory with the controller's probe."""
    path = tmp_path / "work"
    (path / "harbor").mkdir(parents=True)
    (path / "harbor/probe").write_text("token")
    return path


def asked(place, token="token"):
    return {"workdir": str(place), "probe": {"file": str(place / "harbor/probe"), "token": token}}


def lose(place):
    place.rename(place.with_name("elsewhere"))
    place.mkdir()


def restore(place):
    place.rmdir()
    place.with_name("elsewhere").rename(place)


@pytest.mark.parametrize("how", ["empty", "another", "gone"])
def test_a_job_that_fails_while_the_directory_is_missing_is_the_nodes_fault(agents, place, how):
    agent = agents(**asked(place))
    agent.wait_for("ready")
    assert agent.wait_for("hello")["shared"] is True
    sample = agent.wait_for("load")
    free = os.statvfs(place)
    assert sample["shared"] is True and 0 < sample["workdir_free_mb"] <= free.f_blocks * free.f_frsize >> 20
    assert agent.run("exit 3", "r/0", cwd=str(place))["reason"] is None
    agent.start("until [ -e ../go ]; do sleep 0.05; done; cat input", cwd=str(place))
    agent.start("until [ -e ../go ]; do sleep 0.05; done; true", "r/2", cwd=str(place))
    agent.wait_for("started", "r/2")
    if how == "another":
        (place / "harbor/probe").write_text("of another controller")
    else:
        lose(place)
        if how == "gone":
            place.rmdir()
    (place.parent / "go").touch()
    assert agent.exited()["reason"] == "unshared"
    assert (agent.exited("r/2")["code"], agent.exited("r/2")["reason"]) == (0, None), "what succeeded is believed"
    agent.start("true", "r/3", cwd=str(place))
    assert agent.wait_for("refused", "r/3")["reason"] == "unshared"
    sample = agent.wait(lambda m: m["t"] == "load" and m["shared"] is False)
    assert sample["workdir_free_mb"] is None
    if how == "another":
        (place / "harbor/probe").write_text("token")
    else:
        if how == "gone":
            place.mkdir()
        restore(place)
    agent.start("exit 3", "r/4", cwd=str(place))
    agent.wait_for("started", "r/4")
    count = len(agent.received)
    agent.wait(lambda m: m["t"] == "load" and m["shared"] is True and agent.received.index(m) >= count - 1)


def test_a_failure_soon_after_the_directory_was_missing_is_the_nodes_fault(agents, place):
    """The directory is back when the job ends, but it was missing while the job ran."""
    agent = agents(**asked(place))
    agent.wait_for("ready")
    agent.start("until [ -e ../go ]; do sleep 0.05; done; exit 3", cwd=str(place))
    agent.wait_for("started")
    lose(place)
    agent.wait(lambda m: m["t"] == "load" and m["shared"] is False)
    restore(place)
    agent.wait(lambda m: m["t"] == "load" and m["shared"] is True and m["at"] > agent.received[-1].get("at", 0) - 0.5)
    (place.parent / "go").touch()
    assert agent.exited()["reason"] == "unshared"
    assert agent.run("exit 4", "r/2", cwd=str(place))["reason"] is None, "this one began later"


def test_a_log_is_not_written_into_an_empty_mount_point(agents, place):
    agent = agents(**asked(place))
    agent.wait_for("ready")
    agent.start("until [ -e ../go ]; do sleep 0.05; done; exit 3", cwd=str(place), log=str(place / "logs/1.log"))
    agent.wait_for("started")
    lose(place)
    (place.parent / "go").touch()
    done = agent.exited()
    assert (done["reason"], done["log"]) == ("unshared", False)
    assert list(place.iterdir()) == []
    restore(place)


@pytest.mark.parametrize("lost", [False, True])
def test_without_a_controller_the_directory_itself_decides(agents, place, lost):
    """The controller removes its probe when it ends. A missing probe alone must not make failures the node's fault."""
    fence = place.parent / "fence"
    agent = agents(**asked(place), fence=str(fence), node="ada")
    agent.wait_for("load")
    agent.start("until [ -e ../go ]; do sleep 0.05; done; exit 3", cwd=str(place))
    agent.wait_for("started")
    agent.process.stdin.close()
    (place / "harbor/probe").unlink()
    if lost:
        lose(place)
    (place.parent / "go").touch()
    agent.process.wait(20)
    if lost:
        restore(place)
    assert (fence / f"{RUN}.1.1.word").exists() is not lost
    (place / "harbor/probe").write_text("token")
    second = agents(**asked(place))
    exit = second.wait_for("known")["exit"]
    assert (exit["code"], exit["reason"]) == (3, "unshared" if lost else None)


def test_a_node_that_never_had_the_directory_says_so(agents, place):
    agent = agents(**asked(place, "another token"))
    assert agent.wait_for("hello")["shared"] is False
    assert agent.wait_for("load")["shared"] is False
    agent.start("true", cwd=str(place))
    assert agent.wait_for("refused")["reason"] == "unshared"
    without = agents()
    assert without.wait_for("load")["shared"] is True, "no probe, nothing to lose"


def test_a_missing_path_is_not_taken_for_a_missing_directory(agents, place):
    agent = agents(**asked(place))
    agent.wait_for("ready")
    agent.start("true", cwd=str(place / "no/such"))
    assert agent.wait_for("refused")["reason"] == "missing"


# --- shutdown ---------------------------------------------------------------------------------------------

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]
HOST = """
mount --bind {boot_id} /proc/sys/kernel/random/boot_id
exec 3<&0
trap '' TERM
(trap - TERM; exec {other} >/dev/null 2>&1) &
(trap - TERM; exec "$@" <&3) &
exec <&- 3<&-
exec >/dev/null 2>&1
while :; do wait; sleep 0.2; done
"""


@pytest.fixture
def boot(python, tmp_path):
    """Boots a machine with an agent: `boot("first")`. The machine is a PID namespace. `other` runs there as well."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    booted = []

    def make(name, other="true", **options):
        boot_id = tmp_path / f"boot-{name}"
        boot_id.write_text(f"{name}\n")
        script = HOST.format(boot_id=boot_id, other=other)
        prefix = [*NAMESPACES, "sh", "-c", script, "sh"]
        booted.append(Agent(python, tmp_path / "scratch", prefix=prefix, **options))
        booted[-1].wait_for("ready")
        return booted[-1]

    yield make
    for agent in booted:
        send(agent, signal.SIGKILL)
        agent.process.wait(20)


def is_job(process):
    """Return False for an agent or a guardian."""
    with suppress(psutil.NoSuchProcess):
        return not process.name().startswith("harbor-")
    return True


def command_of(process):
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def send(agent, number, spare=()):
    """Send a signal to all processes of a machine, except to those that keep it up."""
    processes = psutil.Process(agent.process.pid).children(recursive=True)[::-1]
    if number == signal.SIGTERM:
        # The kernel sends TERM to all at once. Here the agent gets it first, because it must not see the end of a job
        # that has trapped TERM before its own TERM has come.
        processes.sort(key=is_job)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            first = process.ppid() == agent.process.pid
            if (number == signal.SIGKILL or not first) and process.cmdline() not in spare:
                process.send_signal(number)


JOB = "trap 'echo ending; exit {code}' TERM; touch {go}; while :; do sleep 0.1; done"


def begin(agent, tmp_path, code):
    """Start a job that ends with this code after TERM. With code 143 the signal itself ends it."""
    go = tmp_path / "started"
    agent.start(f"touch {go}; exec sleep 1000" if code == 143 else JOB.format(code=code, go=go))
    wait_until(go.exists, 30, "the job")
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"born"' in record.read_text(), 30, "its record")
    return record


@pytest.mark.parametrize("code", [143, 1])
def test_a_node_that_is_shut_down_says_so_when_it_is_back(boot, tmp_path, code):
    """All processes get TERM and then KILL. The facts that are on disk by then must be enough."""
    first = boot("first", "sleep 1000")
    record = begin(first, tmp_path, code)
    send(first, signal.SIGTERM)
    # KILL comes after seconds; an end by TERM itself needs not even a moment.
    noted = '"code": 143' if code == 143 else '"termed"'
    wait_until(lambda: noted in record.read_text(), 30, "its end on record")
    send(first, signal.SIGKILL)
    assert not any(m["t"] == "exited" for m in first.received)
    second = boot("second")
    exit = second.wait_for("known")["exit"]
    assert (exit["code"], exit["reason"]) == (code, "shutdown")


def test_a_shutdown_is_known_before_the_node_is_off(boot, tmp_path):
    first = boot("first", "sleep 1000")
    record = begin(first, tmp_path, 1)
    send(first, signal.SIGTERM)
    wait_until(lambda: '"shutdown"' in record.read_text(), 30, "the reason on record")


@pytest.mark.parametrize("python", pythons()[-1:], indirect=True)
@pytest.mark.parametrize("code", [143, 1])
def test_a_pkill_is_no_shutdown(boot, tmp_path, code):
    """It reaches agent, guardian and job, but not every process. So the job has failed."""
    first = boot("first", "sleep 100000")
    record = begin(first, tmp_path, code)
    spare = ["sleep", "100000"]
    (spared,) = [p for p in psutil.Process(first.process.pid).children(recursive=True) if command_of(p) == spare]
    wait_until(lambda: time.time() - spared.create_time() > 0.5, 10, "a spared process that is older than the signal")
    send(first, signal.SIGTERM, spare=[spare])
    wait_until(lambda: '"exit"' in record.read_text(), 30, "its end on record")
    send(first, signal.SIGKILL)
    second = boot("second")
    exit = second.wait_for("known")["exit"]
    assert (exit["code"], exit["reason"]) == (code, None), "a boot that comes later changes nothing"


def test_a_kill_of_a_job_is_no_shutdown(agent, tmp_path):
    """The user or the job itself may kill it. Its end is reported within seconds."""
    agent.start("exec sleep 1000")
    os.kill(agent.wait_for("started")["pid"], signal.SIGTERM)
    began = time.monotonic()
    done = agent.exited()
    assert (done["code"], done["reason"]) == (143, None) and time.monotonic() - began < 5
    assert done["end"] - done["start"] < 3
    assert sum(m["t"] == "exited" for m in agent.received) == 1
    agent.start("exec sleep 1000", "r/2")
    agent.wait_for("started", "r/2")
    agent.send(t="cancel", job="r/2", attempt=1, grace=5)
    assert agent.exited("r/2")["reason"] == "cancelled"


def test_an_end_that_was_reported_stays_what_it_was_after_a_boot(boot, tmp_path):
    first = boot("first")
    first.start("kill -TERM $$")
    assert first.exited()["code"] == 143
    send(first, signal.SIGKILL)
    second = boot("second")
    exit = second.wait_for("known")["exit"]
    assert (exit["code"], exit["reason"]) == (143, None)
