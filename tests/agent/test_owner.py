"""A directory may get another id. Jobs of its former id are listed, and the new id is a fence for all of them."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.agent.conftest import RUN
from tests.sshd import wait_until


@pytest.fixture
def work(tmp_path):
    """A working directory with the id `one`."""
    (tmp_path / "work/.snakemake/harbor").mkdir(parents=True)
    own(tmp_path / "work", "one")
    return tmp_path / "work"


def own(work: Path, id: str) -> None:
    draft = work / ".snakemake/harbor/draft"
    draft.write_text(json.dumps({"id": id, "inode": [1, 2]}))
    draft.replace(work / ".snakemake/harbor/id")


def options(work: Path, owner: str, fence: bool = False) -> dict[str, str]:
    found = {"owner": owner, "workdir": str(work)}
    return found | ({"fence": str(work / ".snakemake/harbor/fence")} if fence else {})


def begin(agents, work: Path, **more: object):
    """Start an agent with a job. Returns the agent and the pid of the job."""
    agent = agents(**options(work, "one", **more))
    agent.wait_for("ready")
    agent.start("echo $$ > pid; sleep 60", cwd=str(work))
    agent.wait_for("started")
    wait_until(lambda: (work / "pid").exists() and (work / "pid").read_text().strip(), 15)
    return agent, int((work / "pid").read_text())


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def listed(agent) -> list[dict]:
    agent.wait_for("ready")
    return [message for message in agent.received if message["t"] == "known"]


@pytest.mark.parametrize("spelling", ["typed", "link"])
def test_what_runs_of_another_id_of_the_directory_is_listed_and_can_be_ended(agents, work, tmp_path, spelling):
    _, pid = begin(agents, work)
    (tmp_path / "link").symlink_to(work)
    other = agents(**options(work if spelling == "typed" else tmp_path / "link", "two"))
    (record,) = listed(other)
    assert record["foreign"] is True and record["state"] == "running"
    other.send(t="cancel", job="r/1", attempt=1, grace=1)
    assert other.exited()["reason"] == "cancelled"
    wait_until(lambda: not alive(pid), 10)


def test_what_has_ended_of_another_id_is_not_listed(agents, work):
    first = agents(**options(work, "one"))
    first.wait_for("ready")
    first.run("true", cwd=str(work))
    assert listed(agents(**options(work, "two"))) == []
    assert [record["foreign"] for record in listed(agents(**options(work, "one")))] == [False]


def test_a_copy_elsewhere_and_no_directory_at_all_are_others(agents, work, tmp_path):
    _, pid = begin(agents, work)
    shutil.copytree(work, tmp_path / "copy")
    assert listed(agents(**options(tmp_path / "copy", "two"))) == []
    assert listed(agents(owner="two")) == []
    assert alive(pid)


def test_a_new_directory_at_the_same_path_is_the_same(agents, work, tmp_path):
    """The jobs may write there by absolute paths."""
    begin(agents, work)
    work.rename(tmp_path / "aside")
    work.mkdir()
    (record,) = listed(agents(**options(work, "two")))
    assert record["foreign"] is True


@pytest.mark.parametrize("connected", [True, False])
def test_another_id_in_the_directory_is_a_fence_for_all_jobs(agents, work, connected):
    agent, pid = begin(agents, work, fence=True)
    if not connected:
        agent.process.stdin.close()
    own(work, "two")
    wait_until(lambda: not alive(pid), 15, "the end of the job")
    if connected:
        assert agent.exited()["reason"] == "fenced"
        agent.start("touch never", job="r/2", cwd=str(work))
        assert agent.wait_for("refused")["reason"] == "fenced"
    assert not (work / "never").exists()


@pytest.mark.parametrize("content", [None, b"", b'{"id"', b"[]", b'{"id": 5}', b'{"id": "one"}'])
def test_an_id_that_is_missing_torn_or_the_same_is_no_fence(agents, work, content):
    agent, pid = begin(agents, work, fence=True)
    (work / ".snakemake/harbor/id").unlink()
    if content is not None:
        (work / ".snakemake/harbor/id").write_bytes(content)
    # The fence of another job is seen in a look at the directory that comes after the change.
    agent.start("sleep 60", job="r/2", cwd=str(work))
    agent.wait_for("started", "r/2")
    (work / ".snakemake/harbor/fence").mkdir()
    (work / ".snakemake/harbor/fence" / f"{RUN}.2.1").touch()
    assert agent.exited("r/2")["reason"] == "fenced"
    assert alive(pid)
    os.kill(pid, 9)


def test_a_staged_attempt_belongs_to_its_owner_alone(agents, work, tmp_path):
    """On a node that shares nothing, the directories of two machines may have the same path."""
    base = tmp_path / "scratch/stage/one/r.1.1"
    base.mkdir(parents=True)
    first = agents(**options(work, "one"))
    first.wait_for("ready")
    first.start("sleep 60", cwd=str(base), stage="one/r.1.1")
    first.wait_for("started")
    assert listed(agents(**options(work, "two"))) == []
    assert [record["foreign"] for record in listed(agents(**options(work, "one")))] == [False]
