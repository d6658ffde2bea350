"""Attempts that the controller has given up end or never start. Ends that it does not know are left as exit notices."""

import json

import pytest

from tests.agent.conftest import RUN
from tests.sshd import wait_until


@pytest.mark.parametrize("how", ["part", "fence"])
def test_an_exit_notice_is_left_if_the_controller_does_not_know_the_end(agents, tmp_path, how):
    """The controller is gone when the job ends, or it gives the attempt up before the message arrives."""
    shared = tmp_path / "project" / "fence"
    shared.mkdir(parents=True)
    agent = agents(fence=str(shared), node="ada")
    agent.wait_for("ready")
    agent.start(f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3")
    agent.wait_for("started")
    if how == "part":
        agent.process.stdin.close()
    (tmp_path / "go").touch()
    if how == "fence":
        agent.exited()
        (shared / f"{RUN}.1.1").touch()
    path = shared / f"{RUN}.1.1.word"
    wait_until(path.exists, 10, "an exit notice")
    notice = json.loads(path.read_text())
    assert (notice["t"], notice["node"], notice["hash"], notice["exit"]["code"]) == ("known", "ada", "h", 3)


def test_a_fenced_job_ends_and_leaves_no_exit_notice(agents, tmp_path):
    agent = agents(fence=str(tmp_path / "fence"), node="ada")
    agent.wait_for("ready")
    agent.start("sleep 100")
    agent.wait_for("started")
    (tmp_path / "fence").mkdir()
    (tmp_path / "fence" / f"{RUN}.1.all").touch()
    assert agent.exited()["reason"] == "fenced"
    agent.close()
    assert [path.name for path in (tmp_path / "fence").iterdir()] == [f"{RUN}.1.all"]


def test_a_start_that_comes_late_is_not_obeyed(agents, tmp_path):
    """A healed network delivers the message of a controller that is dead by then. The next controller gave it up.

    This was found by the soak test.
    """
    fence = tmp_path / "fence"
    fence.mkdir()
    agent = agents(fence=str(fence))
    agent.wait_for("ready")
    (fence / f"{RUN}.1.all").touch()
    (fence / f"{RUN}.2.1").touch()
    agent.start(f"touch {tmp_path}/ran")
    assert agent.wait_for("refused", "r/1")["reason"] == "fenced"
    agent.start(f"touch {tmp_path}/ran", "r/2")
    assert agent.wait_for("refused", "r/2")["reason"] == "fenced"
    assert agent.run("exit 3", "r/3")["code"] == 3
    assert not (tmp_path / "ran").exists()


def test_an_agent_starts_nothing_after_a_later_one_has_come(agents, tmp_path):
    """A healed network delivered a start to an earlier agent, after the present one had not listed the attempt.

    Then the attempt ran beside its successor. This was found by the soak test.
    """
    first = agents(owner="o")
    first.wait_for("ready")
    second = agents(owner="o")
    second.wait_for("ready")
    another = agents(owner="p")
    another.wait_for("ready")
    namesake = agents(owner="o", node="the same machine by another name")
    namesake.wait_for("ready")
    first.start(f"touch {tmp_path}/ran")
    assert first.wait_for("refused", "r/1")["reason"] == "fenced"
    assert second.run("exit 3", "r/2")["code"] == 3
    assert another.run("exit 4", "r/3")["code"] == 4
    assert namesake.run("exit 5", "r/5")["code"] == 5
    assert not (tmp_path / "ran").exists()
    second.close()
    first.start(f"touch {tmp_path}/ran", "r/4")
    assert first.wait_for("refused", "r/4")["reason"] == "fenced", "also when the later one has ended"
    for one in (first, another, namesake):
        one.close()
    assert not list(tmp_path.glob("scratch/turn-*"))
