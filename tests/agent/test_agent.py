"""The agent runs jobs: exit codes, output, environment, progress, limits, cancels, logs and load."""

import base64
import random
import uuid
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import RUN, Agent
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
    agent.wait_for("ready")
    assert agent.run("greet")["tail"] == "hi grün\n"
    place = tmp_path / "grün"
    place.mkdir()
    assert agent.run("basename $PWD", "r/2", cwd=str(place))["tail"] == "grün\n"


def test_progress_over_chunk_borders_and_by_expression(agent):
    done = agent.run("printf '\\x02'1/4'\\x03'; sleep 0.4; printf 'x\\x02'3; sleep 0.4; printf '/4\\x03 done'")
    assert done["progress"] == [3.0, 4.0]
    assert agent.wait_for("progress", "r/1")["total"] == 4.0
    done = agent.run("echo step 1 of 9; echo step 2 of 9", "r/2", progress=r"step (\d+) of (\d+)")
    assert done["progress"] == [2.0, 9.0]
    agent.start("printf 'step 3 of 9\\r'; sleep 100", "r/3", progress=r"step (\d+) of (\d+)")
    assert agent.wait_for("progress", "r/3")["done"] == 3.0, "a line that is rewritten, as progress bars do"
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


def test_log_read_forget_and_steps(agent, tmp_path):
    log = tmp_path / "logs" / "a" / "1.1.log"
    done = agent.run("echo hello", log=str(log))
    assert done["log"] is True and log.read_text() == "hello\n" and log.stat().st_mode & 0o777 == 0o644
    agent.send(t="read", job="r/1", attempt=1, offset=1, size=3)
    assert base64.b64decode(agent.wait_for("output")["data"]) == b"ell"
    agent.send(t="forget", job="r/1", attempt=1)
    agent.start(["true", "sleep 0.1; head -c 30000000 /dev/zero | tail -c 1 > /dev/null", "exit 2", "true"], "r/2")
    done = agent.exited("r/2")
    assert [step["code"] for step in done["steps"]] == [0, 0, 2] and done["steps"][1]["max_rss_mb"] > 1
    agent.close()
    assert not (tmp_path / f"scratch/spool/{RUN}/1.1.job").exists()


def test_missing_paths_are_refused_by_name(agent):
    agent.start("true", needs=["/no/such/thing"])
    refused = agent.wait_for("refused")
    assert (refused["reason"], refused["path"]) == ("missing", "/no/such/thing")
    agent.start("true", "r/2", cwd="/no/such/place")
    assert agent.wait_for("refused", "r/2")["path"] == "/no/such/place"
    agent.send(t="cancel", job="r/9", attempt=1)
    assert agent.wait_for("gone", "r/9")


def test_nonsense_is_answered_and_the_agent_goes_on(agent):
    agent.raw(b"nonsense\n[]\n{}\n" + b'{"t":"no such"}\n' + b"\xff\xfe\n" + b"x" * (2 << 20) + b"\n")
    agent.start("true", "../../etc/x")
    agent.raw(b'{"t":"pi')
    agent.raw(b'ng","n":7}\n')
    assert agent.wait_for("pong")["n"] == 7
    assert sum(m["t"] == "error" for m in agent.received) >= 6
    generator = random.Random(1)
    agent.raw(bytes(generator.randrange(256) for _ in range(20_000)) + b"\n")
    assert agent.run("echo fine")["tail"] == "fine\n"


@pytest.mark.parametrize("kind", ["link", "file", "proc"])
def test_a_scratch_that_cannot_be_used_is_fatal(python, tmp_path, kind):

    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    agent = Agent(python, {"link": tmp_path / "link", "file": tmp_path / "file/x", "proc": Path("/proc/x")}[kind])
    fatal = agent.wait_for("fatal")
    assert fatal["code"] == "scratch" and kind in fatal["message"]
    agent.close()


def test_scratch_is_ours_alone(agent, tmp_path):
    agent.run("true")
    for path in (tmp_path / "scratch", tmp_path / "scratch/spool"):
        assert path.stat().st_mode & 0o777 == 0o700
    text = "".join(path.read_text() for path in (tmp_path / "scratch").rglob("*.job"))
    assert "PATH" not in text, "no environment on disk"


def test_load_tells_ours_from_others(agent):
    hello = agent.wait_for("hello")
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
