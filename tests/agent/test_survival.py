"""Jobs survive when their agent, its guardian or the connection dies, and the next agent knows how they ended."""

import json
import os
import random
import shutil
import signal
import time
import uuid
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import RUN
from tests.snakemake.harness import jobs_of
from tests.sshd import wait_until


@pytest.mark.parametrize("how", ["kill", "part"])
def test_a_new_agent_finds_what_runs_and_what_has_ended(agents, tmp_path, how):
    """The agent is killed or its connection is dropped. The jobs go on, and how they end is known."""
    first = agents()
    first.wait_for("ready")
    go = tmp_path / "go"
    for number in (1, 2, 3):
        first.start(f"until [ -e {go}{number} ]; do sleep 0.05; done; echo {number}; exit {number}", f"r/{number}")
        first.wait_for("started", f"r/{number}")
    if how == "kill":
        first.kill()
    else:
        first.process.stdin.close()
    Path(f"{go}1").touch()
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"code": 1' in record.read_text(), 10, "the exit code in the record")
    second = agents()
    known = {m["job"]: m for m in (second.wait_for("known", f"r/{n}") for n in (1, 2, 3))}
    assert (known["r/1"]["state"], known["r/1"]["exit"]["code"]) == ("exited", 1)
    assert known["r/1"]["meta"] == {"m": 1} and known["r/1"]["hash"] == "h"
    assert known["r/2"]["state"] == "running"
    Path(f"{go}2").touch()
    assert (second.exited("r/2")["code"], second.exited("r/2")["tail"]) == (2, "2\n")
    second.start("true", "r/3")
    assert second.wait_for("started", "r/3"), "a start of a known attempt is answered, not repeated"
    second.send(t="cancel", job="r/3", attempt=1, grace=1)
    assert second.exited("r/3")["reason"] == "cancelled"


def test_a_killed_guardian_costs_nothing(agents, tmp_path):
    agent = agents()
    agent.wait_for("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.wait_for("started")
    os.kill(agent.process.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert agent.exited()["code"] == 3
    assert agent.run("exit 4", "r/2")["code"] == 4
    agent.close()


def test_a_sigterm_for_both_is_for_the_agent(agents, tmp_path):
    """For example, `pkill python3` sends TERM to both."""
    agent = agents()
    agent.wait_for("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.wait_for("started")
    victim = agent.pid
    os.kill(agent.process.pid, signal.SIGTERM)
    os.kill(victim, signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(victim), 5, "the end of the agent")
    second = agents()
    assert second.wait_for("known")["state"] == "running"
    (tmp_path / "go").touch()
    assert second.exited()["code"] == 3


def test_the_guardian_takes_over_from_an_agent_that_is_killed(agents, tmp_path):
    """It enforces limits and fences and leaves exit notices, although no other agent comes."""
    mark = uuid.uuid4().hex
    fence = tmp_path / "fence"
    fence.mkdir()
    agent = agents(fence=str(fence), node="ada")
    agent.wait_for("ready")
    agent.start("trap '' TERM; sleep 100; sleep 100", "r/slow", env={"HARBOR_TEST": mark}, runtime=1.5)
    agent.start("trap '' TERM; sleep 100; sleep 100", "r/fenced", env={"HARBOR_TEST": mark})
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo end; exit 3", "r/ends")
    for job in ("slow", "fenced", "ends"):
        agent.wait_for("started", f"r/{job}")
    agent.kill()
    (fence / f"{RUN}.fenced.1").touch()
    wait_until(lambda: jobs_of(mark) == [], 15, "the ends of the jobs over time and behind a fence")
    (tmp_path / "go").touch()
    agent.process.wait(10)
    notices = {path.name: json.loads(path.read_text())["exit"] for path in fence.glob("*.word")}
    assert {name: (answer["code"], answer["reason"]) for name, answer in notices.items()} == {
        f"{RUN}.slow.1.word": (137, "timeout"),
        f"{RUN}.ends.1.word": (3, None),
    }
    assert notices[f"{RUN}.ends.1.word"]["tail"] == "end\n"


def test_a_job_whose_agent_and_guardian_are_killed_is_lost_and_ended_by_the_next(agents):
    """Nobody can know how such a job ends, so nobody waits for it."""
    mark = uuid.uuid4().hex
    agent = agents()
    agent.wait_for("ready")
    agent.start("setsid sleep 100 & exec env -i sleep 100", env={"HARBOR_TEST": mark})
    pid = agent.wait_for("started")["pid"]
    wait_until(lambda: jobs_of(mark), 10, "the job")
    wait_until(lambda: not psutil.Process(pid).environ(), 10, "its shell to become a program with no environment")
    victim = agent.pid
    os.kill(agent.process.pid, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    agent.process.wait()
    second = agents()
    known = second.wait_for("known", "r/1")
    assert (known["state"], known["exit"]["reason"]) == ("exited", "lost")
    wait_until(lambda: jobs_of(mark) == [] and not psutil.pid_exists(pid), 5, "nothing left")


@pytest.mark.parametrize("seed", range(8))
def test_an_agent_may_be_killed_in_any_instant_of_starting_jobs(agents, tmp_path, seed):
    """What ran goes on and ends with its exit code. What the next agent calls lost, or does not list, never ran.

    The jobs wait until the next agent has looked for them. A job that had ended by then may be lost without harm.
    """
    first = agents()
    first.wait_for("ready")
    victim, go = first.pid, tmp_path / "go"
    for number in range(20):
        waiting = f"until [ -e {go} ]; do sleep 0.2; done"
        first.start(f"echo >> {tmp_path}/trace{number}; {waiting}; exit {number + 1}", f"r/{number}")
    time.sleep(random.Random(seed).uniform(0, 0.06))
    os.kill(victim, signal.SIGKILL)
    second = agents()
    second.wait_for("ready", timeout=60)
    known = [message["job"].partition("/")[2] for message in second.received if message["t"] == "known"]
    go.touch()
    ran = set()
    for number in known:
        done = second.wait(lambda m, job=f"r/{number}": m.get("job") == job and (m.get("exit") or "code" in m), 60)
        answer = done.get("exit") or done
        if answer["reason"] != "lost":
            assert answer["code"] == int(number) + 1
            ran.add(f"trace{number}")
    first.process.wait(60)
    assert {path.name: path.read_text() for path in tmp_path.glob("trace*")} == dict.fromkeys(ran, "\n")


def test_a_scratch_directory_that_was_removed_is_made_again(agents, tmp_path):
    """Another agent that ends removes it when it is empty. Then the node must not seem to have no free space."""
    agent = agents(load_every=0.1)
    agent.wait_for("ready")
    shutil.rmtree(tmp_path / "scratch")
    agent.wait(lambda m: m["t"] == "load" and not (tmp_path / "scratch").exists())
    agent.received.clear()
    assert agent.wait_for("load")["disk_free_mb"] > 0
    assert agent.run("exit 3")["code"] == 3


def test_an_agent_whose_controller_has_a_later_one_ends_with_its_jobs(agents, tmp_path):
    """Found by the soak: after a long partition no end of the old connection arrives, and the agent stayed."""
    go = tmp_path / "go"
    first = agents()
    first.start(f"until [ -e {go} ]; do sleep 0.05; done")
    first.wait_for("started")
    second = agents()
    assert second.wait_for("known")["state"] == "running"
    assert second.run("exit 3", "r/2")["code"] == 3
    wait_until(lambda: first.process.stdout.read(65536) == b"", 30, "the first agent closes its connection")
    assert first.process.poll() is None, "it stays for its job"
    go.touch()
    wait_until(lambda: first.process.poll() is not None, 20, "the end of the first agent, whose connection is open")
    assert second.exited()["code"] == 0
    assert second.run("exit 4", "r/3")["code"] == 4
