"""`.snakemake/harbor/fence/`: fences, exit notices and recorded results, in a directory that fails in every way."""

import os
import shutil
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.store import fence_dir as module
from snakemake_executor_plugin_harbor.store.fence_dir import FenceDir

RUN = "260101-000000-aaaaaa"


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def fence_dir(tmp_path, warnings):
    (tmp_path / ".snakemake/harbor").mkdir(parents=True)
    return FenceDir(tmp_path / ".snakemake/harbor/fence", RUN, warnings.append)


def write_notice(fence_dir: FenceDir, name: str, content: bytes = b'{"t": "known"}\n') -> Path:
    fence_dir.path.mkdir(exist_ok=True)
    path = fence_dir.path / f"{name}.word"
    path.write_bytes(content)
    return path


# --- fences -------------------------------------------------------------------------------------------------


def test_fences_that_cannot_be_written_are_tried_again(fence_dir, warnings):
    fence_dir.path.write_text("in the way")
    assert not fence_dir.fence("r/1", 1) and not fence_dir.fence("r/2", None)
    assert fence_dir.write_missing() == [] and len(warnings) == 1, "one warning"
    assert not fence_dir.is_fenced("r/1", 1)
    fence_dir.path.unlink()
    assert sorted(fence_dir.write_missing(), key=str) == [("r/1", 1), ("r/2", None)]
    assert fence_dir.write_missing() == []
    assert fence_dir.is_fenced("r/1", 1) and fence_dir.is_fenced("r/2", 7) and not fence_dir.is_fenced("r/1", 2)


def test_a_recorded_result_that_cannot_be_written_is_tried_again(fence_dir):
    fence_dir.path.write_text("in the way")
    fence_dir.note_result_recorded("r/1", 1, away=True)
    fence_dir.path.unlink()
    assert fence_dir.write_missing() == [] and fence_dir.is_result_recorded("r/1", 1)


def test_nothing_is_raised_by_a_directory_that_is_gone(tmp_path, fence_dir):
    shutil.rmtree(tmp_path / ".snakemake")
    (tmp_path / ".snakemake").write_text("in the way")
    assert not fence_dir.fence("r/1", 1)
    assert fence_dir.write_missing() == [] and fence_dir.new_exit_notices() == []
    fence_dir.note_result_recorded("r/1", 1, away=True)
    fence_dir.remove_exit_notices()


# --- notices of ends ----------------------------------------------------------------------------------------


def test_each_notice_is_read_once(fence_dir):
    write_notice(fence_dir, "r.1.1", b'{"n": 1}')
    assert fence_dir.new_exit_notices() == [{"n": 1}]
    write_notice(fence_dir, "r.2.1", b'{"n": 2}')
    assert fence_dir.new_exit_notices() == [{"n": 2}] and fence_dir.new_exit_notices() == []


def test_one_that_is_torn_is_read_when_it_is_whole_and_holds_up_no_other(fence_dir):
    torn = write_notice(fence_dir, "r.1.1", b'{"n": ')
    write_notice(fence_dir, "r.2.1", b'{"n": 2}')
    write_notice(fence_dir, "r.3.1", b'{"n": 3}')
    assert fence_dir.new_exit_notices() == [{"n": 2}, {"n": 3}]
    assert fence_dir.new_exit_notices() == []
    torn.write_bytes(b'{"n": 1}')
    assert fence_dir.new_exit_notices() == [{"n": 1}]


def test_one_that_cannot_be_read_is_read_later_and_holds_up_no_other(fence_dir):
    write_notice(fence_dir, "r.2.1", b'{"n": 2}')
    (fence_dir.path / "r.1.1.word").mkdir()  # reading it raises OSError, as ESTALE and EIO do
    assert fence_dir.new_exit_notices() == [{"n": 2}]
    (fence_dir.path / "r.1.1.word").rmdir()
    write_notice(fence_dir, "r.1.1", b'{"n": 1}')
    assert fence_dir.new_exit_notices() == [{"n": 1}]


def test_nonsense_is_put_aside_after_some_seconds(fence_dir, monkeypatch):
    path = write_notice(fence_dir, "r.1.1", b"nonsense")
    monkeypatch.setattr(module, "UNREADABLE_S", 0.2)
    assert fence_dir.new_exit_notices() == []
    time.sleep(0.3)
    assert fence_dir.new_exit_notices() == []
    path.write_bytes(b'{"n": 1}')
    assert fence_dir.new_exit_notices() == [], "it is not looked at any more"


def test_old_files_are_removed_and_others_stay(fence_dir):
    fence_dir.fence("r/1", 1)
    fence_dir.fence("r/2", 1)
    old = time.time() - 2 * module.FENCE_KEEP_S
    for name in ("r.1.1", "r.3.1.done", "r.4.1.word"):
        (fence_dir.path / name).touch()
        os.utime(fence_dir.path / name, (old, old))
    fence_dir.remove_old()
    assert sorted(path.name for path in fence_dir.path.iterdir()) == ["r.2.1", "r.3.1.done", "r.4.1.word"]


def test_only_notices_of_this_run_are_removed_at_its_end(fence_dir):
    mine, other = write_notice(fence_dir, f"{RUN}.1.1"), write_notice(fence_dir, "260101-000001-bbbbbb.1.1")
    fence_dir.remove_exit_notices()
    assert not mine.exists() and other.exists()


def test_a_notice_goes_when_its_result_is_recorded(fence_dir):
    path = write_notice(fence_dir, "r.1.1")
    fence_dir.note_result_recorded("r/1", 1, away=False)
    assert path.exists(), "it has not been read"
    fence_dir.new_exit_notices()
    fence_dir.note_result_recorded("r/1", 1, away=True)
    assert not path.exists() and fence_dir.is_result_recorded("r/1", 1)
