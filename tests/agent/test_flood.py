"""Floods of output and invalid messages cost the agent bounded memory. It answers them and goes on."""

import base64
import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.bootstrap import agent_source, bootstrap_command
from tests.agent.conftest import RUN
from tests.sshd import wait_until

GROWTH_MB = 40
MARKER = "printf '\\x02'7/8'\\x03'"


class Memory:
    """Measures by how many MiB the peak memory of an agent has grown since this object was made."""

    def __init__(self, agent):
        self.proc = Path(f"/proc/{agent.pid}")
        (self.proc / "clear_refs").write_text("5")  # resets the peak
        self.before = self.peak()

    def peak(self):
        lines = (self.proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def growth(self):
        return self.peak() - self.before


FLOODS = {
    "a million lines": ("seq 1000000", 6_888_896),
    "one line of 100 MB": ("head -c 100000000 /dev/zero | tr '\\0' x", 100_000_000),
    "100 MB of zeros": ("head -c 100000000 /dev/zero", 100_000_000),
    "binary": ("head -c 30000000 /dev/urandom", 30_000_000),
    "nothing but beginnings of markers": ("yes \"$(printf '\\x02')1/\" | tr -d '\\n' | head -c 20000000", 20_000_000),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_bounded_memory_and_its_last_marker_is_found(agent, flood):
    script, size = FLOODS[flood]
    memory = Memory(agent)
    agent.start(f"{script}; {MARKER}")
    done = agent.exited(timeout=60)
    assert done["code"] == 0 and done["progress"] == [7.0, 8.0]
    assert len(done["tail"]) <= 4096
    assert memory.growth() < GROWTH_MB
    for offset in (0, 1, size // 2, size - 3, size, size + 5, size + 6, 10**12):
        agent.send(t="read", job="r/1", attempt=1, offset=offset, size=1000)
        answer = agent.wait(lambda m, at=offset: m["t"] == "output" and m["offset"] == at)
        data = base64.b64decode(answer["data"])
        assert answer["size"] == size + 5
        assert len(data) == max(0, min(1000, size + 5 - offset))
        assert answer["eof"] == (offset + 1000 >= size + 5)
        if offset == size:
            assert data == b"\x027/8\x03"
    agent.send(t="read", job="r/1", attempt=1, offset=0, size=1 << 40)
    whole = agent.wait(lambda m: m["t"] == "output" and m["offset"] == 0 and len(m["data"]) > 2000)
    assert len(base64.b64decode(whole["data"])) <= 1 << 19, "no answer is longer than a line may be"
    assert memory.growth() < GROWTH_MB


def test_a_line_that_never_ends_costs_bounded_memory_while_an_expression_looks_for_progress(agent, tmp_path):
    """An expression for progress is applied to whole lines, so nothing is found while no line ends."""
    memory, go = Memory(agent), tmp_path / "go"
    script = f"until [ -e {go} ]; do head -c 3000000 /dev/zero | tr '\\0' x; sleep 0.1; done; echo; "
    script += "echo step 3 of 9; sleep 60"
    agent.start(script, progress=r"step (\d+) of (\d+)")
    out = tmp_path / f"scratch/spool/{RUN}/1.1.out"
    wait_until(lambda: out.exists() and out.stat().st_size > 60_000_000, 60, "60 MB of one line")
    assert memory.growth() < GROWTH_MB
    go.touch()
    answer = agent.wait_for("progress", "r/1", 30)
    assert (answer["done"], answer["total"]) == (3.0, 9.0)
    agent.send(t="cancel", job="r/1", attempt=1, grace=0)
    done = agent.exited()
    assert done["progress"] == [3.0, 9.0] and len(done["tail"]) <= 4096
    assert memory.growth() < GROWTH_MB


def test_lines_of_a_controller_that_never_end_cost_bounded_memory(agent):
    memory = Memory(agent)
    for _ in range(1000):
        agent.raw(b"x" * 65536)
    agent.raw(b'\n{"t":"ping","n":7}\n')
    assert agent.wait_for("pong")["n"] == 7
    assert memory.growth() < GROWTH_MB


# --- nonsense ---------------------------------------------------------------------------------------------


def noise(seed):
    """Return random bytes, and then random pieces of JSON, which get further into the parser."""
    chance = random.Random(seed)
    data = bytes(chance.randrange(256) for _ in range(20_000))
    pieces = ["{", "}", "[", "]", '"t"', ":", ",", '"start"', '"job"', '"r/1"', '"attempt"', "1", "null", "1e999", "\n"]
    return data + "".join(chance.choice(pieces) for _ in range(5000)).encode()


def finish(agent):
    """Close the agent. Returns its exit code, and what it wrote to stderr."""
    agent.close()
    return agent.process.returncode, agent.process.stderr.read().decode("utf-8", "replace")


@pytest.mark.parametrize("seed", range(4))
def test_after_random_bytes_a_ping_is_answered(agent, seed):
    agent.raw(noise(seed) + b'\n{"t":"ping","n":7}\n')
    assert agent.wait_for("pong")["n"] == 7
    assert agent.run("echo fine")["tail"] == "fine\n"
    code, stderr = finish(agent)
    assert code == 0 and stderr == ""


@pytest.mark.parametrize(
    "first",
    [noise(5), noise(6), b"", b"\n", b"[]\n", b"{}\n", b'{"v":1}\n', b"[" * 100_000 + b"\n", b"x" * 50_000],
    ids=["noise", "more noise", "nothing", "empty", "list", "object", "incomplete", "deep", "long"],
)
def test_without_a_valid_welcome_the_agent_ends_and_says_why(python, tmp_path, first):
    env = {**os.environ, "HOME": str(tmp_path)}
    received = subprocess.run(
        ["/bin/sh", "-c", bootstrap_command(python)],
        input=b"%d\n%b%b" % (len(agent_source()), agent_source(), first),
        capture_output=True,
        timeout=60,
        env=env,
        check=False,
    )
    assert received.stderr == b""
    answer = [json.loads(line) for line in received.stdout.splitlines() if line]
    if not answer:
        assert received.returncode == 0 and b"\n" not in first
    elif answer[0]["t"] == "fatal":
        assert len(answer) == 1 and received.returncode == 1
    else:
        assert first == b'{"v":1}\n' and received.returncode == 0, "all else has a default"


WRONG = [None, True, -1, 1.5, "", "x/../y", "a b/1", [], {}, [["r/1"]], {"a": 1}, "\0/1", "r/" + "9" * 300, 10**400]


def test_a_job_or_attempt_of_a_wrong_type_is_refused(agent):
    answers = 0
    for wrong in WRONG:
        for message in ({"job": wrong, "attempt": 1}, {"job": "r/1", "attempt": wrong}):
            for kind, answer in (("start", "refused"), ("cancel", "error"), ("forget", "error"), ("read", "error")):
                if message["attempt"] in (1.5, True):
                    continue
                before = sum(m["t"] == answer for m in agent.received)
                agent.send(t=kind, scripts=["true"], cwd="/", **message)
                answers += 1
                agent.send(t="ping", n=answers)
                agent.wait(lambda m, n=answers: m["t"] == "pong" and m["n"] == n)
                assert sum(m["t"] == answer for m in agent.received) == before + 1, (kind, message)
    assert not any(m["t"] == "started" for m in agent.received)
    assert agent.run("echo fine", "r/2")["tail"] == "fine\n"


def test_a_start_with_a_field_of_a_wrong_type_is_refused_and_the_agent_goes_on(agent):
    fields = {
        "scripts": [None, 1, "", [], [1], [None], {"a": 1}],
        "shell": [1, ["sh"], {"a": 1}, "/no/such/shell\0"],
        "env": [1, "x", [1], {"A": 1}, {"A": ["x"]}],
        "cwd": [None, 1, [], {}, "a\0b"],
        "needs": [1, [None], [["/"]], [{}]],
        "runtime": ["x", [1], {"a": 1}],
        "progress": [1, ["x"]],
    }
    number = 0
    for name, values in fields.items():
        for value in values:
            number += 1
            agent.start("true", f"r/{number}", **{name: value})
            agent.send(t="ping", n=number)
            agent.wait(lambda m, n=number: m["t"] == "pong" and m["n"] == n)
            answer = {m["t"] for m in agent.received if m.get("job") == f"r/{number}"}
            assert "refused" in answer and "started" not in answer, (name, value, answer)
    assert agent.run("echo fine", "r/999")["tail"] == "fine\n"
    agent.start("sleep 60", "r/1000")
    agent.wait_for("started", "r/1000")
    for grace in ("x", None, [1]):
        agent.send(t="cancel", job="r/1000", attempt=1, grace=grace)
        agent.wait(lambda m: m["t"] == "error" and "not understood" in m["message"])
        agent.received = [m for m in agent.received if m["t"] != "error"]
    agent.send(t="cancel", job="r/1000", attempt=1, grace=0)
    assert agent.exited("r/1000")["reason"] == "cancelled"
