"""A job that cannot be started is refused because of the job or because of the node, and leaves no files."""

import json
import os
import resource
import time
from pathlib import Path

import pytest

from tests.agent.conftest import RUN
from tests.sshd import wait_until

MAX_LINE = 1 << 20


def refused(agent, job="r/1"):
    answer = agent.wait(lambda m: m["t"] in ("refused", "started") and m["job"] == job)
    assert answer["t"] == "refused", answer
    return answer


UNFIT = {
    "NUL in the script": {"scripts": ["tr '\n' '\0' </dev/null"]},
    "NUL in a later script": {"scripts": ["true", "a\0b"]},
    "NUL in a value": {"env": {"A": "a\0b"}},
    "NUL in a name": {"env": {"A\0B": "a"}},
    "a name with =": {"env": {"A=B": "a"}},
    "an empty name": {"env": {"": "a"}},
    "NUL in cwd": {"cwd": "/tmp\0"},
    "NUL in needs": {"needs": ["/tmp", "/tm\0p"]},
    "NUL in the log": {"log": "/tmp/a\0b"},
    "NUL in the shell": {"shell": "/bin/sh\0"},
    "an argument list that is too long": {"env": {"A": "a" * 200_000}},
    "a lone surrogate in the script": {"scripts": ["echo \ud800"]},
    "a lone surrogate in cwd": {"cwd": "/tmp/\ud800"},
    "a lone surrogate in a value": {"env": {"A": "\udfff\ud800"}},
    "progress that does not close": {"progress": "([0-9]+/"},
    "progress with a flag of text": {"progress": "(?u)(.)/(.)"},
    "progress without groups": {"progress": "done"},
    "scripts as text": {"scripts": "true"},
    "a list as value": {"env": {"A": ["a"]}},
    "a number as log": {"log": 7},
    "a number as cwd": {"cwd": 7},
    "text as runtime": {"runtime": "long"},
    "no scripts": {"scripts": []},
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_no_node_could_start_is_the_jobs_fault(agent, tmp_path, what):
    agent.start("true", **UNFIT[what])
    answer = refused(agent)
    assert answer["reason"] == "job" and answer["message"], answer
    assert not list((tmp_path / "scratch/spool").rglob("*.*")), "nothing of it stays"
    assert agent.run("echo fine", "r/2")["tail"] == "fine\n"


@pytest.mark.parametrize("kind", ["text", "not executable", "directory", "loop", "long"])
def test_a_shell_that_is_none_is_the_jobs_fault(agent, tmp_path, kind):
    shell = tmp_path / "shell"
    if kind in ("text", "not executable"):
        shell.write_text("just text")
        shell.chmod(0o755 if kind == "text" else 0o644)
    elif kind == "directory":
        shell.mkdir()
    elif kind == "loop":
        shell.write_text(f"#!{shell}\n")
        shell.chmod(0o755)
    else:
        shell.write_text(f"#!/{'x' * 200}\n")
        shell.chmod(0o755)
    agent.start("true", shell=str(shell))
    answer = refused(agent)
    assert answer["reason"] == ("missing" if kind == "long" else "job"), answer
    if kind != "long":
        assert str(shell) in answer["message"]
    assert not list((tmp_path / "scratch/spool").rglob("*.*"))


def test_a_later_script_that_cannot_be_started_fails_the_job_and_says_why(agent, tmp_path):
    shell = tmp_path / "shell"
    shell.symlink_to("/bin/sh")
    agent.start([f"echo one; rm {shell}; echo text >{shell}; chmod +x {shell}", "echo two"], shell=str(shell))
    done = agent.exited()
    assert done["code"] == 126 and done["tail"].startswith("one\n") and "was not started" in done["tail"], done


def test_what_only_this_node_lacks_is_the_nodes_fault(agent, tmp_path):
    """Such a job could start on another node, or later."""
    locked = tmp_path / "scratch/spool" / RUN
    locked.write_text("a file where a directory has to be")
    agent.start("true")
    assert refused(agent)["reason"] == "error"
    locked.unlink()
    assert agent.run("true", "r/2")["code"] == 0


def test_a_node_that_has_run_out_of_something_is_at_fault(agent):
    """It cannot open more files. A full process table is of the same kind, but does not limit root."""
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (1, 1024))
    agent.start("true")
    answer = refused(agent)
    assert answer["reason"] == "fork", answer
    agent.wait_for("load")
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (1024, 1024))
    assert agent.run("true", "r/2")["code"] == 0


@pytest.mark.parametrize("over", [0, 1])
def test_a_start_is_as_long_as_a_line_may_be_or_is_answered(agent, over):
    message = {"t": "start", "job": f"{RUN}/1", "attempt": 3, "scripts": ["exit 7 #"], "shell": "/bin/sh", "cwd": "/"}
    size = len(json.dumps({**message, "env": {}, "hash": ""}))
    agent.raw(json.dumps({**message, "env": {}, "hash": "h" * (MAX_LINE - size + over)}).encode() + b"\n")
    if over:
        answer = refused(agent)
        assert (answer["reason"], answer["attempt"]) == ("job", 3) and "1048576" in answer["message"]
    else:
        assert agent.exited("r/1", 3)["code"] == 7
    assert agent.run("echo fine", "r/2")["tail"] == "fine\n"


def test_a_start_of_many_megabytes_is_answered_once(agent):
    meta = {"t": "cancel", "job": f"{RUN}/7", "attempt": 9}
    head = json.dumps({"t": "start", "job": f"{RUN}/1", "attempt": 2, "meta": meta, "scripts": ["x"]})[:-1].encode()
    agent.raw(head)
    for _ in range(100):
        agent.raw(b"x" * 65536)
    agent.raw(b'\n{"t":"ping","n":1}\n')
    agent.wait_for("pong")
    assert [(m["job"], m["attempt"]) for m in agent.received if m["t"] == "refused"] == [("r/1", 2)]
    agent.raw(b'{"t":"cancel","job":"r/1","attempt":1,"x":"' + b"x" * (2 << 20) + b'"}\n{"t":"ping","n":2}\n')
    agent.wait(lambda m: m["t"] == "pong" and m["n"] == 2)
    assert sum(m["t"] == "refused" for m in agent.received) == 1 and sum(m["t"] == "error" for m in agent.received) == 1


def test_an_expression_that_takes_ages_is_given_up(agents, tmp_path):
    """It would block the agent, and each later agent."""
    first = agents()
    first.wait_for("ready")
    first.start(f"echo {'a' * 60}; until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3", progress="(a+)+(b)")
    first.wait_for("started")
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"progress": null' in record.read_text(), 10, "that it is given up")
    assert first.run("echo fine", "r/2")["tail"] == "fine\n"
    first.kill()
    second = agents()
    second.wait_for("ready")
    (tmp_path / "go").touch()
    assert second.exited()["code"] == 3


def write_records(scratch, count, **facts):
    """Write records as an agent leaves them that was killed before it could write the pids."""
    spool = scratch / "spool" / RUN
    spool.mkdir(parents=True)
    for path in (scratch, scratch / "spool", spool):
        path.chmod(0o700)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    info = {"boot_id": boot, "owner": None, "start": time.time(), "hash": "h", "keepers": [], **facts}
    for number in range(count):
        (spool / f"{number}.1.job").write_text(json.dumps(info) + "\n")


def ready_after(agents):
    began = time.monotonic()
    agent = agents()
    agent.wait_for("ready", timeout=60)
    return agent, time.monotonic() - began


@pytest.mark.parametrize("age", [0, 3600])
def test_records_without_a_process_cost_no_time(agents, tmp_path, age):
    """Each of them cost a second once. After an hour of refusals that was longer than the controller waits."""
    write_records(tmp_path / "scratch", 200, start=time.time() - age)
    first, seconds = ready_after(agents)
    assert seconds < 10, "200 s once"
    known = [m for m in first.received if m["t"] == "known"]
    assert len(known) == 200 and {m["exit"]["reason"] for m in known} == {"lost"}
    record = tmp_path / f"scratch/spool/{RUN}/7.1.job"
    assert '"lost"' in record.read_text(), "the next agent need not conclude that again"
    before = record.read_text()
    first.close()
    second, _ = ready_after(agents)
    known = [m for m in second.received if m["t"] == "known"]
    assert len(known) == 200 and {m["exit"]["reason"] for m in known} == {"lost"}
    assert record.read_text() == before
    for number in range(200):
        second.send(t="forget", job=f"r/{number}", attempt=1)
    assert second.run("true", "r/999")["code"] == 0


def test_a_record_of_nonsense_does_not_stop_an_agent(agents, tmp_path):
    for facts in ({"progress": "(?u)(.)(.)"}, {"progress": 7}, {"pid": "x"}, {"keepers": 7}, {"steps": 3}):
        write_records(tmp_path / "scratch", 1, **facts)
        (tmp_path / f"scratch/spool/{RUN}/0.1.job").rename(tmp_path / f"keep-{len(list(tmp_path.glob('keep-*')))}")
        (tmp_path / f"scratch/spool/{RUN}").rmdir()
        (tmp_path / "scratch/spool").rmdir()
    spool = tmp_path / f"scratch/spool/{RUN}"
    spool.mkdir(parents=True)
    for number, path in enumerate(sorted(tmp_path.glob("keep-*"))):
        path.rename(spool / f"{number}.1.job")
    agent = agents()
    agent.wait_for("ready")
    assert agent.run("true", "r/999")["code"] == 0


def test_a_process_is_found_by_its_key_when_its_pid_was_not_noted(agents, tmp_path):
    """Its agent was killed between the start and the note of the pid. The job is found, and nothing is killed."""
    first = agents()
    first.wait_for("ready")
    first.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 5")
    first.wait_for("started")
    record = tmp_path / f"scratch/spool/{RUN}/1.1.job"
    wait_until(lambda: '"pid"' in record.read_text(), 5, "the note")
    record.write_text(record.read_text().splitlines()[0] + "\n")
    first.kill()
    second = agents()
    assert second.wait_for("known")["state"] == "running"
    (tmp_path / "go").touch()
    assert second.exited()["code"] == 5
    assert os.path.exists(record)
