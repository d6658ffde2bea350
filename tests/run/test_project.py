"""`.snakemake/harbor/`: lock, fences and notices of ends, on a directory that fails in every way."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store import workdir as module
from snakemake_executor_plugin_harbor.store.workdir import Workdir, read_lock


@pytest.fixture
def told():
    return []


@pytest.fixture
def project(tmp_path, told):
    one = Workdir(tmp_path, "260101-000000-aaaaaa", told.append)
    one.acquire()
    yield one
    one.release()


def word(project: Workdir, name: str, content: bytes = b'{"t": "known"}\n') -> Path:
    project.fences.mkdir(exist_ok=True)
    path = project.fences / f"{name}.word"
    path.write_bytes(content)
    return path


# --- the lock -----------------------------------------------------------------------------------------------


def test_a_second_controller_is_refused_until_the_first_leaves(tmp_path, project):
    with pytest.raises(HarborError, match="another harbor controller"):
        Workdir(tmp_path, "260101-000001-bbbbbb").acquire()
    project.release()
    second = Workdir(tmp_path, "260101-000001-bbbbbb")
    second.acquire()
    assert second.id == project.id
    second.release()


def test_the_lock_of_a_living_controller_does_not_hold_in_a_copy(tmp_path, project):
    shutil.copytree(tmp_path / ".snakemake", tmp_path / "copy/.snakemake")
    assert read_lock(tmp_path / "copy/.snakemake/harbor/lock") is None
    copy = Workdir(tmp_path / "copy", "260101-000001-bbbbbb")
    copy.acquire()
    assert copy.id != project.id
    copy.release()
    assert read_lock(project.lock) is not None


def test_a_deleted_directory_is_put_back(tmp_path, project):
    project.point_to(tmp_path / "journal")
    shutil.rmtree(tmp_path / ".snakemake")
    project.beat()
    assert read_lock(project.lock)[0].run == project.run
    assert project.probe.read_text() == project.token and project.pointer.exists()
    other = Workdir(tmp_path, "260101-000001-bbbbbb")
    with pytest.raises(HarborError, match="another harbor controller"):
        other.acquire()
    project.release()
    other.acquire()
    assert other.id == project.id
    other.release()


def test_a_controller_whose_directory_was_deleted_and_taken_by_another_one_stops(tmp_path, project):
    shutil.rmtree(tmp_path / ".snakemake")
    other = Workdir(tmp_path, "260101-000001-bbbbbb")
    other.acquire()
    with pytest.raises(HarborError, match="another harbor controller"):
        project.beat()
    other.release()


# --- fences -------------------------------------------------------------------------------------------------


def test_fences_that_cannot_be_written_are_tried_again(project, told):
    project.fences.write_text("in the way")
    assert not project.fence("r/1", 1) and not project.fence("r/2", None)
    assert project.retry() == [] and len(told) == 1, "one warning"
    assert not project.fenced("r/1", 1)
    project.fences.unlink()
    assert sorted(project.retry(), key=str) == [("r/1", 1), ("r/2", None)]
    assert project.retry() == []
    assert project.fenced("r/1", 1) and project.fenced("r/2", 7) and not project.fenced("r/1", 2)


def test_a_settled_end_that_cannot_be_written_is_tried_again(project):
    project.fences.write_text("in the way")
    project.settle("r/1", 1, away=True)
    project.fences.unlink()
    assert project.retry() == [] and project.settled("r/1", 1)


def test_nothing_is_raised_by_a_directory_that_is_gone(tmp_path, project):
    shutil.rmtree(tmp_path / ".snakemake")
    (tmp_path / ".snakemake").write_text("in the way")
    assert not project.fence("r/1", 1)
    assert project.retry() == [] and project.words() == []
    project.settle("r/1", 1, away=True)
    project.beat()
    project.clear_words()


# --- notices of ends ----------------------------------------------------------------------------------------


def test_each_notice_is_read_once(project):
    word(project, "r.1.1", b'{"n": 1}')
    assert project.words() == [{"n": 1}]
    word(project, "r.2.1", b'{"n": 2}')
    assert project.words() == [{"n": 2}] and project.words() == []


def test_one_that_is_torn_is_read_when_it_is_whole_and_holds_up_no_other(project):
    torn = word(project, "r.1.1", b'{"n": ')
    word(project, "r.2.1", b'{"n": 2}')
    word(project, "r.3.1", b'{"n": 3}')
    assert project.words() == [{"n": 2}, {"n": 3}]
    assert project.words() == []
    torn.write_bytes(b'{"n": 1}')
    assert project.words() == [{"n": 1}]


def test_one_that_cannot_be_read_is_read_later_and_holds_up_no_other(project, tmp_path):
    word(project, "r.2.1", b'{"n": 2}')
    (project.fences / "r.1.1.word").mkdir()  # reading it raises OSError, as ESTALE and EIO do
    assert project.words() == [{"n": 2}]
    (project.fences / "r.1.1.word").rmdir()
    word(project, "r.1.1", b'{"n": 1}')
    assert project.words() == [{"n": 1}]


def test_nonsense_is_put_aside_after_some_seconds(project, monkeypatch):
    path = word(project, "r.1.1", b"nonsense")
    monkeypatch.setattr(module, "UNREADABLE_S", 0.2)
    assert project.words() == []
    time.sleep(0.3)
    assert project.words() == []
    path.write_bytes(b'{"n": 1}')
    assert project.words() == [], "it is not looked at any more"


def test_old_files_are_removed_and_others_stay(tmp_path, project):
    project.fence("r/1", 1)
    project.fence("r/2", 1)
    old = time.time() - 2 * module.FENCE_KEEP_S
    os.utime(project.fences / "r.1.1", (old, old))
    project.release()
    again = Workdir(tmp_path, "260102-000000-bbbbbb")
    again.acquire()
    assert not again.fenced("r/1", 1) and again.fenced("r/2", 1)
    again.release()


def test_the_lock_says_who_holds_it(project):
    data = json.loads(project.lock.read_text())
    assert data["pid"] == os.getpid() and data["run"] == project.run
