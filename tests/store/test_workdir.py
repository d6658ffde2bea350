"""`.snakemake/harbor/`: the lock, the pointer and the probe, also while the directory is deleted or copied."""

import json
import os
import shutil

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store.workdir import Workdir, read_lock


@pytest.fixture
def workdir(tmp_path):
    one = Workdir(tmp_path, "260101-000000-aaaaaa")
    one.acquire()
    yield one
    one.release()


def test_a_second_controller_is_refused_until_the_first_leaves(tmp_path, workdir):
    with pytest.raises(HarborError, match="another harbor controller"):
        Workdir(tmp_path, "260101-000001-bbbbbb").acquire()
    workdir.release()
    second = Workdir(tmp_path, "260101-000001-bbbbbb")
    second.acquire()
    assert second.id == workdir.id
    second.release()


def test_the_lock_of_a_living_controller_does_not_hold_in_a_copy(tmp_path, workdir):
    shutil.copytree(tmp_path / ".snakemake", tmp_path / "copy/.snakemake")
    assert read_lock(tmp_path / "copy/.snakemake/harbor/lock") is None
    copy = Workdir(tmp_path / "copy", "260101-000001-bbbbbb")
    copy.acquire()
    assert copy.id != workdir.id
    copy.release()
    assert read_lock(workdir.lock) is not None


def test_a_deleted_directory_is_put_back(tmp_path, workdir):
    workdir.write_pointer(tmp_path / "journal")
    shutil.rmtree(tmp_path / ".snakemake")
    workdir.heartbeat()
    assert read_lock(workdir.lock)[0].run == workdir.run
    assert workdir.probe.read_text() == workdir.token and workdir.pointer.exists()
    other = Workdir(tmp_path, "260101-000001-bbbbbb")
    with pytest.raises(HarborError, match="another harbor controller"):
        other.acquire()
    workdir.release()
    other.acquire()
    assert other.id == workdir.id
    other.release()


def test_a_controller_whose_directory_was_deleted_and_taken_by_another_one_stops(tmp_path, workdir):
    shutil.rmtree(tmp_path / ".snakemake")
    other = Workdir(tmp_path, "260101-000001-bbbbbb")
    other.acquire()
    with pytest.raises(HarborError, match="another harbor controller"):
        workdir.heartbeat()
    other.release()


def test_the_lock_says_who_holds_it(workdir):
    data = json.loads(workdir.lock.read_text())
    assert data["pid"] == os.getpid() and data["run"] == workdir.run


def test_a_heartbeat_raises_nothing_while_the_directory_cannot_be_written(tmp_path, workdir):
    shutil.rmtree(tmp_path / ".snakemake")
    (tmp_path / ".snakemake").write_text("in the way")
    workdir.heartbeat()
