"""A job's output is copied to another file system in pieces and once. Only the job itself waits for that."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from tests.agent.conftest import RUN, pythons
from tests.sshd import wait_until

pytestmark = pytest.mark.parametrize("python", pythons()[-1:], indirect=True)

MB = 1 << 20
SIZE = 600 * MB


@pytest.fixture
def elsewhere(tmp_path):
    """A directory that is not on the file system of scratch."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev or shutil.disk_usage(shm).free < 2 * SIZE:
        pytest.skip("no room on another file system")
    path = Path(tempfile.mkdtemp(dir=shm))
    yield path
    shutil.rmtree(path)


def big(log, size=SIZE, code=3):
    """Return the fields of a start message whose job has a large output. It is a hole, so it needs no disk space."""
    return {"script": f"truncate -s {size} /dev/fd/1; exit {code}", "log": str(log)}


def test_messages_are_answered_while_a_large_log_is_copied(agent, elsewhere):
    log = elsewhere / "1.log"
    agent.start(**big(log))
    wait_until(lambda: list(elsewhere.glob("*.part")), 20, "the copy")
    agent.send(t="ping", n=1)
    began = time.monotonic()
    agent.wait(lambda m: m["t"] == "pong")
    answered = time.monotonic() - began
    agent.start("exit 4", "r/2", log=str(elsewhere / "2.log"))
    assert agent.exited("r/2")["code"] == 4, "another job need not wait for the copy"
    assert not any(m["t"] == "exited" and m["job"] == "r/1" for m in agent.received), "the log comes first"
    done = agent.exited(timeout=60)
    assert (done["code"], done["log"]) == (3, True) and log.stat().st_size == SIZE
    assert answered < 1 and [path.name for path in elsewhere.iterdir() if path.suffix == ".part"] == []
    assert log.stat().st_mode & 0o777 == 0o644
    assert sum(m["t"] == "exited" and m["job"] == "r/1" for m in agent.received) == 1


def test_a_log_is_copied_once(agents, elsewhere):
    first = agents()
    first.wait_for("ready")
    log = elsewhere / "1.log"
    first.start(**big(log, 5 * MB))
    assert first.exited()["log"] is True
    inode = log.stat().st_ino
    first.close()
    second = agents()
    assert second.wait_for("known")["exit"]["log"] is True
    assert log.stat().st_ino == inode, "the next agent leaves it alone"
    second.close()
    log.unlink()
    third = agents()
    known = third.wait_for("known")
    assert (known["exit"]["code"], known["exit"]["log"]) == (3, True) and not log.exists(), "even if it is gone since"


def test_a_small_log_is_copied_once_too_or_linked(agents, elsewhere, tmp_path):
    for place in (elsewhere, tmp_path):
        name = "r/1" if place is tmp_path else "r/2"
        first = agents()
        first.wait_for("ready")
        assert first.run("echo hello", name, log=str(place / "log"))["log"] is True
        assert (place / "log").read_text() == "hello\n"
        first.close()
        (place / "log").unlink()
        second = agents()
        second.wait_for("ready")
        assert not (place / "log").exists()
        second.close()


def test_a_controller_that_goes_during_the_copy_learns_the_end(agents, elsewhere, tmp_path):
    """The agent stays for the copy and leaves an exit notice. The next agent waits for the first one's copy."""
    fence = tmp_path / "fence"
    first = agents(fence=str(fence), node="ada")
    first.wait_for("ready")
    log = elsewhere / "1.log"
    first.start(**big(log))
    wait_until(lambda: list(elsewhere.glob("*.part")), 20, "the copy")
    part = next(elsewhere.glob("*.part"))
    first.process.stdin.close()
    second = agents(fence=str(fence), node="ada")
    second.wait_for("ready", timeout=60)
    answer = second.wait(lambda m: m.get("job") == "r/1" and (m["t"] == "exited" or m.get("exit")), 60)
    answer = answer.get("exit") or answer
    assert (answer["code"], answer["log"]) == (3, True) and log.stat().st_size == SIZE
    assert [path for path in elsewhere.iterdir() if path not in (log, part)] == [], "nobody copied it again"
    wait_until((fence / f"{RUN}.1.1.word").exists, 10, "an exit notice")
    first.process.wait(20)


def test_the_end_survives_an_agent_that_is_killed_during_the_copy(agents, elsewhere):
    """The guardian or the next agent copies the log from its beginning, and removes the part of the first copy."""
    first = agents()
    first.wait_for("ready")
    log = elsewhere / "1.log"
    first.start(**big(log))
    wait_until(lambda: list(elsewhere.glob("*.part")), 20, "the copy")
    victim = first.pid
    os.kill(first.process.pid, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    second = agents()
    answer = second.wait(lambda m: m.get("job") == "r/1" and (m["t"] == "exited" or m.get("exit")), 60)
    answer = answer.get("exit") or answer
    assert (answer["code"], answer["log"]) == (3, True)
    assert [path.name for path in elsewhere.iterdir()] == ["1.log"] and log.stat().st_size == SIZE


def test_a_log_that_cannot_be_written_is_reported(agent, tmp_path):
    (tmp_path / "file").write_text("")
    done = agent.run("exit 3", log=str(tmp_path / "file" / "log"))
    assert (done["code"], done["log"]) == (3, False)
