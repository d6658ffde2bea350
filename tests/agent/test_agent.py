"""What the agent promises: exit codes and output, limits, cancels, adoption, and survival of whatever dies."""

import base64
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


def test_exit_codes_signals_and_output(agent):
    done = agent.run("echo out; echo err >&2; exit 3")
    assert (done["code"], done["reason"], done["tail"]) == (3, None, "out\nerr\n")
    assert agent.run("kill -TERM $$", "r/2")["code"] == 143
    assert agent.run("true", "r/3")["code"] == 0
    assert agent.run("x" * 200_000 + " 2>/dev/null; exit 5", "r/4")["code"] == 5, "longer than an argument may be"


def test_environment_arrives_unchanged_and_the_shell_starts_clean(agent, tmp_path):
    weird = {"A": "it's", "B": "one\ntwo", "C": '$HOME `id` "\\', "D": "grün ☃"}
    out = tmp_path / "env"
    agent.run(f"env -0 > {out}", env={**weird, "HOME": None})
    seen = dict(item.split("=", 1) for item in out.read_bytes().decode().split("\0") if item)
    assert {name: seen[name] for name in weird} == weird
    assert "HOME" not in seen and not {"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY"} & set(seen)


def test_bash_functions_and_a_posix_locale_survive(agents, tmp_path):
    agent = agents(env={"LC_ALL": "C", "PYTHONUTF8": "0"}, environment={"BASH_FUNC_greet%%": "() { echo hi grün; }"})
    agent.of("ready")
    assert agent.run("greet")["tail"] == "hi grün\n"
    place = tmp_path / "grün"
    place.mkdir()
    assert agent.run("basename $PWD", "r/2", cwd=str(place))["tail"] == "grün\n"


def test_progress_over_chunk_borders_and_by_expression(agent):
    done = agent.run("printf '\\x02'1/4'\\x03'; sleep 0.4; printf 'x\\x02'3; sleep 0.4; printf '/4\\x03 done'")
    assert done["progress"] == [3.0, 4.0]
    assert agent.of("progress", "r/1")["total"] == 4.0
    done = agent.run("echo step 1 of 9; echo step 2 of 9", "r/2", progress=r"step (\d+) of (\d+)")
    assert done["progress"] == [2.0, 9.0]
    agent.start("printf 'step 3 of 9\\r'; sleep 100", "r/3", progress=r"step (\d+) of (\d+)")
    assert agent.of("progress", "r/3")["done"] == 3.0, "a line that is rewritten, as progress bars do"
    agent.send(t="cancel", job="r/3", attempt=1, grace=0)
    agent.exited("r/3")


def test_runtime_ends_a_job_that_ignores_term(agent):
    done = agent.run("trap '' TERM; sleep 60", runtime=0.3)
    assert done["reason"] == "timeout"


def test_cancel_reaches_children_in_other_sessions(agent):
    mark = uuid.uuid4().hex
    script = "trap '' TERM; (setsid sleep 100 &); (setsid setsid sleep 100 &) ; sleep 100"
    agent.start(script, env={"HARBOR_TEST": mark})
    wait_until(lambda: len(jobs_of(mark)) >= 3, 10, "the job's processes")
    agent.send(t="cancel", job="r/1", attempt=1, grace=0.2)
    assert agent.exited()["reason"] == "cancelled"
    wait_until(lambda: jobs_of(mark) == [], 5, "nothing left")


def test_what_a_job_leaves_behind_ends_with_it(agent):
    mark = uuid.uuid4().hex
    assert agent.run("sleep 100 & (setsid sleep 100 &); exit 0", env={"HARBOR_TEST": mark})["code"] == 0
    wait_until(lambda: jobs_of(mark) == [], 5, "nothing left")


def test_cancel_goes_on_when_the_controller_is_gone(agent):
    mark = uuid.uuid4().hex
    agent.start("trap '' TERM; sleep 100", env={"HARBOR_TEST": mark})
    wait_until(lambda: jobs_of(mark), 10, "the job")
    agent.send(t="cancel", job="r/1", attempt=1, grace=0.5)
    agent.process.stdin.close()
    wait_until(lambda: jobs_of(mark) == [], 10, "nothing left")
    agent.process.wait(10)


@pytest.mark.parametrize("how", ["kill", "part"])
def test_a_new_agent_finds_what_runs_and_what_has_ended(agents, tmp_path, how):
    """The agent is killed or its connection dropped: jobs live on, and their ends are known."""
    first = agents()
    first.of("ready")
    go = tmp_path / "go"
    for number in (1, 2, 3):
        first.start(f"until [ -e {go}{number} ]; do sleep 0.05; done; echo {number}; exit {number}", f"r/{number}")
        first.of("started", f"r/{number}")
    if how == "kill":
        first.kill()
    else:
        first.process.stdin.close()
    Path(f"{go}1").touch()
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"code": 1' in record.read_text(), 10, "the exit code in the record")
    second = agents()
    known = {m["job"]: m for m in (second.of("known", f"r/{n}") for n in (1, 2, 3))}
    assert (known["r/1"]["state"], known["r/1"]["exit"]["code"]) == ("exited", 1)
    assert known["r/1"]["meta"] == {"m": 1} and known["r/1"]["hash"] == "h"
    assert known["r/2"]["state"] == "running"
    Path(f"{go}2").touch()
    assert (second.exited("r/2")["code"], second.exited("r/2")["tail"]) == (2, "2\n")
    second.start("true", "r/3")
    assert second.of("started", "r/3"), "a start of a known attempt is answered, not repeated"
    second.send(t="cancel", job="r/3", attempt=1, grace=1)
    assert second.exited("r/3")["reason"] == "cancelled"


@pytest.mark.parametrize("how", ["part", "fence"])
def test_word_is_left_of_an_end_that_nobody_could_be_told(agents, tmp_path, how):
    """The controller is gone when the job ends, or gives the attempt up without hearing that it has ended."""
    shared = tmp_path / "project" / "fence"
    shared.mkdir(parents=True)
    agent = agents(fence=str(shared), node="ada")
    agent.of("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.of("started")
    if how == "part":
        agent.process.stdin.close()
    (tmp_path / "go").touch()
    if how == "fence":
        agent.exited()
        (shared / f"{RUN}.1.1").touch()
    path = shared / f"{RUN}.1.1.word"
    wait_until(path.exists, 10, "a word")
    word = json.loads(path.read_text())
    assert (word["t"], word["node"], word["hash"], word["exit"]["code"]) == ("known", "ada", "h", 3)


def test_a_fenced_job_ends_and_leaves_no_word(agents, tmp_path):
    agent = agents(fence=str(tmp_path / "fence"), node="ada")
    agent.of("ready")
    agent.start("sleep 100")
    agent.of("started")
    (tmp_path / "fence").mkdir()
    (tmp_path / "fence" / f"{RUN}.1.all").touch()
    assert agent.exited()["reason"] == "fenced"
    agent.close()
    assert [path.name for path in (tmp_path / "fence").iterdir()] == [f"{RUN}.1.all"]


def test_a_start_that_comes_late_is_not_obeyed(agents, tmp_path):
    """Found by the soak: a healed network delivers what a controller, dead by then, has said. The next gave it up."""
    fence = tmp_path / "fence"
    fence.mkdir()
    agent = agents(fence=str(fence))
    agent.of("ready")
    (fence / f"{RUN}.1.all").touch()
    (fence / f"{RUN}.2.1").touch()
    agent.start(f"touch {tmp_path}/ran")
    assert agent.of("refused", "r/1")["reason"] == "fenced"
    agent.start(f"touch {tmp_path}/ran", "r/2")
    assert agent.of("refused", "r/2")["reason"] == "fenced"
    assert agent.run("exit 3", "r/3")["code"] == 3
    assert not (tmp_path / "ran").exists()


def test_an_agent_starts_nothing_after_a_later_one_has_come(agents, tmp_path):
    """Found by the soak: a healed network delivered a start to the agent of the connection before, after the present
    one had said that it does not know the attempt. It ran beside its successor.
    """
    first = agents(owner="o")
    first.of("ready")
    second = agents(owner="o")
    second.of("ready")
    another = agents(owner="p")
    another.of("ready")
    namesake = agents(owner="o", node="the same machine by another name")
    namesake.of("ready")
    first.start(f"touch {tmp_path}/ran")
    assert first.of("refused", "r/1")["reason"] == "fenced"
    assert second.run("exit 3", "r/2")["code"] == 3
    assert another.run("exit 4", "r/3")["code"] == 4
    assert namesake.run("exit 5", "r/5")["code"] == 5
    assert not (tmp_path / "ran").exists()
    second.close()
    first.start(f"touch {tmp_path}/ran", "r/4")
    assert first.of("refused", "r/4")["reason"] == "fenced", "also when the later one has ended"
    for one in (first, another, namesake):
        one.close()
    assert not list(tmp_path.glob("scratch/turn-*"))


def test_a_killed_guardian_costs_nothing(agents, tmp_path):
    agent = agents()
    agent.of("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.of("started")
    os.kill(agent.process.pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert agent.exited()["code"] == 3
    assert agent.run("exit 4", "r/2")["code"] == 4
    agent.close()


def test_a_sigterm_for_both_is_for_the_agent(agents, tmp_path):
    """`pkill python3`, say."""
    agent = agents()
    agent.of("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.of("started")
    victim = agent.pid
    os.kill(agent.process.pid, signal.SIGTERM)
    os.kill(victim, signal.SIGTERM)
    wait_until(lambda: not psutil.pid_exists(victim), 5, "the end of the agent")
    second = agents()
    assert second.of("known")["state"] == "running"
    (tmp_path / "go").touch()
    assert second.exited()["code"] == 3


def test_the_guardian_takes_over_from_an_agent_that_is_killed(agents, tmp_path):
    """Limits, fences, steps and words of ends, although no other agent comes."""
    mark = uuid.uuid4().hex
    fence = tmp_path / "fence"
    fence.mkdir()
    agent = agents(fence=str(fence), node="ada")
    agent.of("ready")
    agent.start("trap '' TERM; sleep 100; sleep 100", "r/slow", env={"HARBOR_TEST": mark}, runtime=1.5)
    agent.start("trap '' TERM; sleep 100; sleep 100", "r/fenced", env={"HARBOR_TEST": mark})
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo end; exit 3", "r/ends")
    for job in ("slow", "fenced", "ends"):
        agent.of("started", f"r/{job}")
    agent.kill()
    (fence / f"{RUN}.fenced.1").touch()
    wait_until(lambda: jobs_of(mark) == [], 15, "the ends of the jobs over time and behind a fence")
    (tmp_path / "go").touch()
    agent.process.wait(10)
    words = {path.name: json.loads(path.read_text())["exit"] for path in fence.glob("*.word")}
    assert {name: (told["code"], told["reason"]) for name, told in words.items()} == {
        f"{RUN}.slow.1.word": (137, "timeout"),
        f"{RUN}.ends.1.word": (3, None),
    }
    assert words[f"{RUN}.ends.1.word"]["tail"] == "end\n"


def test_a_job_whose_agent_and_guardian_are_killed_is_lost_and_ended_by_the_next(agents):
    """Nobody could say how it ends: waiting for that would be in vain."""
    mark = uuid.uuid4().hex
    agent = agents()
    agent.of("ready")
    agent.start("setsid sleep 100 & exec env -i sleep 100", env={"HARBOR_TEST": mark})
    pid = agent.of("started")["pid"]
    wait_until(lambda: jobs_of(mark), 10, "the job")
    wait_until(lambda: not psutil.Process(pid).environ(), 10, "its shell to become a program with no environment")
    victim = agent.pid
    os.kill(agent.process.pid, signal.SIGKILL)
    os.kill(victim, signal.SIGKILL)
    agent.process.wait()
    second = agents()
    known = second.of("known", "r/1")
    assert (known["state"], known["exit"]["reason"]) == ("exited", "lost")
    wait_until(lambda: jobs_of(mark) == [] and not psutil.pid_exists(pid), 5, "nothing left")


@pytest.mark.parametrize("seed", range(8))
def test_an_agent_may_be_killed_in_any_instant_of_starting_jobs(agents, tmp_path, seed):
    """What ran goes on and ends with its exit code. What the next agent calls lost, or does not list, never ran.

    The jobs wait until the next agent has looked for them. A job that had ended by then may be lost without harm.
    """
    first = agents()
    first.of("ready")
    victim, go = first.pid, tmp_path / "go"
    for number in range(20):
        waiting = f"until [ -e {go} ]; do sleep 0.2; done"
        first.start(f"echo >> {tmp_path}/trace{number}; {waiting}; exit {number + 1}", f"r/{number}")
    time.sleep(random.Random(seed).uniform(0, 0.06))
    os.kill(victim, signal.SIGKILL)
    second = agents()
    second.of("ready", timeout=60)
    known = [message["job"].partition("/")[2] for message in second.said if message["t"] == "known"]
    go.touch()
    ran = set()
    for number in known:
        done = second.wait(lambda m, job=f"r/{number}": m.get("job") == job and (m.get("exit") or "code" in m), 60)
        told = done.get("exit") or done
        if told["reason"] != "lost":
            assert told["code"] == int(number) + 1
            ran.add(f"trace{number}")
    first.process.wait(60)
    assert {path.name: path.read_text() for path in tmp_path.glob("trace*")} == dict.fromkeys(ran, "\n")


def test_a_scratch_directory_that_was_removed_is_made_again(agents, tmp_path):
    """Another agent that ends removes it when it is empty. Without it the node seemed to have no room, for ever."""
    agent = agents(load_every=0.1)
    agent.of("ready")
    shutil.rmtree(tmp_path / "scratch")
    agent.wait(lambda m: m["t"] == "load" and not (tmp_path / "scratch").exists())
    agent.said.clear()
    assert agent.of("load")["disk_free_mb"] > 0
    assert agent.run("exit 3")["code"] == 3


def test_log_read_forget_and_steps(agent, tmp_path):
    log = tmp_path / "logs" / "a" / "1.1.log"
    done = agent.run("echo hello", log=str(log))
    assert done["log"] is True and log.read_text() == "hello\n" and log.stat().st_mode & 0o777 == 0o644
    agent.send(t="read", job="r/1", attempt=1, offset=1, size=3)
    assert base64.b64decode(agent.of("output")["data"]) == b"ell"
    agent.send(t="forget", job="r/1", attempt=1)
    agent.start(["true", "sleep 0.1; head -c 30000000 /dev/zero | tail -c 1 > /dev/null", "exit 2", "true"], "r/2")
    done = agent.exited("r/2")
    assert [step["code"] for step in done["steps"]] == [0, 0, 2] and done["steps"][1]["max_rss_mb"] > 1
    agent.close()
    assert not (tmp_path / f"scratch/spool/{RUN}/1.1.job").exists()


def test_missing_paths_are_refused_by_name(agent):
    agent.start("true", needs=["/no/such/thing"])
    refused = agent.of("refused")
    assert (refused["reason"], refused["path"]) == ("missing", "/no/such/thing")
    agent.start("true", "r/2", cwd="/no/such/place")
    assert agent.of("refused", "r/2")["path"] == "/no/such/place"
    agent.send(t="cancel", job="r/9", attempt=1)
    assert agent.of("gone", "r/9")


def test_nonsense_is_answered_and_the_agent_goes_on(agent):
    agent.raw(b"nonsense\n[]\n{}\n" + b'{"t":"no such"}\n' + b"\xff\xfe\n" + b"x" * (2 << 20) + b"\n")
    agent.start("true", "../../etc/x")
    agent.raw(b'{"t":"pi')
    agent.raw(b'ng","n":7}\n')
    assert agent.of("pong")["n"] == 7
    assert sum(m["t"] == "error" for m in agent.said) >= 6
    generator = random.Random(1)
    agent.raw(bytes(generator.randrange(256) for _ in range(20_000)) + b"\n")
    assert agent.run("echo fine")["tail"] == "fine\n"


@pytest.mark.parametrize("kind", ["link", "file", "proc"])
def test_a_scratch_that_cannot_be_used_is_fatal(python, tmp_path, kind):
    from tests.agent.conftest import Agent

    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    agent = Agent(python, {"link": tmp_path / "link", "file": tmp_path / "file/x", "proc": Path("/proc/x")}[kind])
    fatal = agent.of("fatal")
    assert fatal["code"] == "scratch" and kind in fatal["message"]
    agent.close()


def test_scratch_is_ours_alone(agent, tmp_path):
    agent.run("true")
    for path in (tmp_path / "scratch", tmp_path / "scratch/spool"):
        assert path.stat().st_mode & 0o777 == 0o700
    text = "".join(path.read_text() for path in (tmp_path / "scratch").rglob("*.job"))
    assert "PATH" not in text, "no environment on disk"


def test_load_tells_ours_from_others(agent):
    hello = agent.of("hello")
    assert hello["cores"] >= 1 and hello["mem_mb"] > 0 and hello["boot_id"]
    other = psutil.Popen(["sh", "-c", "while :; do :; done"])
    try:
        agent.start("while :; do :; done", "r/1")
        sample = agent.wait(lambda m: m["t"] == "load" and m["ours"].get("r/1#1", 0) > 0.05, 60)
        assert set(sample["ours"]) == {"r/1#1"}
        assert sample["mem_available_mb"] > 0 and sample["disk_free_mb"] > 0
    finally:
        other.kill()
        other.wait()
    agent.send(t="cancel", job="r/1", attempt=1, grace=0)
    agent.exited()


def test_hundred_jobs_at_once(agent):
    for number in range(100):
        agent.start(f"exit {number}", f"r/{number}")
    assert [agent.exited(f"r/{number}")["code"] for number in range(100)] == list(range(100))
