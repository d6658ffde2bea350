"""The agent lists the records in its spool for `harbor clean`, and removes those that nobody needs."""

import os
import time

from tests.agent.conftest import RUN
from tests.sshd import wait_until


def left(agent, *owners):
    """Have the agent remove the records of these owners. Return what it lists then, by owner."""
    del agent.received[:]
    agent.send(t="inventory", remove=list(owners))
    return {entry["owner"]: entry for entry in agent.wait_for("inventory")["owners"]}


def test_records_are_listed_by_owner_and_removed_unless_they_run(agents, tmp_path):
    here = agents(owner="here", workdir=str(tmp_path))
    here.run("echo twelve chars")
    here.start(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done", "r/2")
    here.wait_for("started", "r/2")
    there = agents(owner="there", workdir="/gone")
    there.run("exit 3", "r/3")
    asks = agents(owner="survey-1", run="survey-1", workdir=str(tmp_path))
    asks.wait_for("ready")
    found = left(asks)
    assert {owner: (entry["attempts"], entry["busy"]) for owner, entry in found.items()} == {
        "here": (2, 1),
        "there": (1, 0),
    }
    assert (found["here"]["workdir"], found["there"]["workdir"]) == (str(tmp_path), "/gone")
    assert found["here"]["bytes"] > 12 and time.time() - 60 < found["here"]["changed"] < time.time() + 60
    assert set(left(asks, "nobody")) == {"here", "there"}
    found = left(asks, "here", "there")
    assert set(found) == {"here"} and (found["here"]["attempts"], found["here"]["busy"]) == (1, 1)
    (tmp_path / "go").touch()
    assert here.exited("r/2")["code"] == 0, "it was left alone"
    assert left(asks, "here") == {}
    runs = tmp_path / "scratch" / "spool"
    wait_until(lambda: not runs.exists() or not os.listdir(runs))


def test_an_attempt_that_may_be_between_two_scripts_is_left_alone(agents, tmp_path):
    agent = agents(owner="here")
    agent.wait_for("ready")
    base = tmp_path / "scratch/spool/r-of-another"
    base.mkdir()
    (base / "1.1.job").write_text('{"boot_id": "x", "owner": "here", "pid": 1, "born": "y", "scripts": 2}\n')
    assert left(agent, "here")["here"]["busy"] == 1
    os.utime(base / "1.1.job", (1e9, 1e9))
    assert left(agent)["here"]["busy"] == 0
    assert left(agent, "here") == {}


def test_a_spool_with_files_of_others(agents, tmp_path):
    agent = agents(owner="here")
    agent.wait_for("ready")
    spool = tmp_path / "scratch/spool"
    (spool / "run").mkdir()
    (spool / "file").touch()
    for name, text in (("1.1.job", "no JSON"), ("1.2.job", "[]"), ("x.job", "{}"), ("2.1.out", "output")):
        (spool / "run" / name).write_text(text)
    assert {owner: entry["attempts"] for owner, entry in left(agent, "here").items()} == {None: 2}
    agent.send(t="inventory")
    assert "not understood" in agent.wait_for("error")["message"]


def test_directories_of_attempts_are_listed_and_removed_with_and_without_a_record(agents, tmp_path):
    stage = tmp_path / "scratch/stage"
    for name in (f"here/{RUN}.1.1", "gone/x.1.1", "gone/x.2.1", "new/x.1.1"):
        (stage / name / "in").mkdir(parents=True)
        (stage / name / "in/file").write_bytes(bytes(1000))
    (stage / "gone/x.1.1/in").chmod(0o500)
    for old in (stage / "gone").iterdir():
        os.utime(old, (1e9, 1e9))
    here = agents(owner="here", workdir=str(tmp_path))
    here.wait_for("ready")
    here.start("true", cwd=str(stage / f"here/{RUN}.1.1"), stage=f"here/{RUN}.1.1")
    here.exited()
    asks = agents(owner="survey-1", run="survey-1", workdir=str(tmp_path))
    asks.wait_for("ready")
    found = left(asks)
    assert found["here"]["bytes"] > 1000 and found["here"]["attempts"] == 1
    gone = found["gone"]
    assert (gone["attempts"], gone["busy"], gone["bytes"], gone["changed"]) == (2, 0, 2000, 1e9)
    assert found["new"]["busy"] == 1, "a mover may be filling it"
    assert set(left(asks, "here", "gone", "new")) == {"new"}
    assert [path.name for path in stage.iterdir()] == ["new"]
