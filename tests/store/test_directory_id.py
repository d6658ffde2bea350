"""The id of a working directory: each directory has one, all processes agree on it, and each copy gets another one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.store.directory_id import directory_id, read_id, write_id


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "project" / ".snakemake" / "harbor"
    path.mkdir(parents=True)
    return path


def test_it_stays(place):
    first = directory_id(place)
    assert len(first) == 32 and directory_id(place) == first
    assert [path.name for path in place.iterdir()] == ["id"], "no draft is left"


def test_it_does_not_depend_on_the_spelling_or_the_name(place, tmp_path):
    first = directory_id(place)
    (tmp_path / "link").symlink_to(tmp_path / "project")
    assert directory_id(tmp_path / "link/.snakemake/harbor") == first
    (tmp_path / "project").rename(tmp_path / "renamed")
    assert directory_id(tmp_path / "renamed/.snakemake/harbor") == first


@pytest.mark.parametrize("copy", ["cp -a", "cp -r", "cp -al", "tar"])
def test_a_copy_gets_an_id_of_its_own_and_the_original_keeps_its(place, tmp_path, copy):
    first = directory_id(place)
    if copy == "tar":
        (tmp_path / "copy").mkdir()
        pipe = f"tar -C {tmp_path}/project -c . | tar -C {tmp_path}/copy -x"
        subprocess.run(["sh", "-c", pipe], check=True)
    else:
        subprocess.run([*copy.split(), str(tmp_path / "project"), str(tmp_path / "copy")], check=True)
    second = directory_id(tmp_path / "copy/.snakemake/harbor")
    assert second != first
    assert directory_id(place) == first and directory_id(tmp_path / "copy/.snakemake/harbor") == second


def test_a_directory_that_is_replaced_by_its_copy_is_another_one(place, tmp_path):
    first = directory_id(place)
    (tmp_path / "project").rename(tmp_path / "aside")
    shutil.copytree(tmp_path / "aside", tmp_path / "project")
    assert directory_id(place) != first


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b'{"id": "x"}', b'{"id": 5, "inode": [1, 2]}', b"\xff\xfe", b'"' * 5000]
)
def test_a_file_that_makes_no_sense_is_replaced(place, content):
    (place / "id").write_bytes(content)
    assert read_id(place) is None
    first = directory_id(place)
    assert directory_id(place) == first


def test_an_id_that_is_there_is_not_overwritten(place):
    first = directory_id(place)
    write_id(place, "another")
    assert read_id(place) == first


def test_an_id_is_put_back_after_a_deletion(place):
    first = directory_id(place)
    (place / "id").unlink()
    write_id(place, first)
    assert directory_id(place) == first


@pytest.mark.parametrize("before", [None, "copied"])
def test_processes_that_make_it_at_the_same_time_agree(place, before):
    if before:
        (place / "id").write_text(json.dumps({"id": "a" * 32, "inode": [1, 2]}))
    code = (
        "import sys, time; from pathlib import Path\n"
        "from snakemake_executor_plugin_harbor.store.directory_id import directory_id\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(directory_id(Path({str(place)!r})))"
    )
    many = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for one in many:
        assert one.stdout.readline() == "ready\n"
    for one in many:
        one.stdin.write("go\n")
        one.stdin.flush()
    found = {one.communicate(timeout=60)[0].strip() for one in many}
    assert found == {directory_id(place)} and "a" * 32 not in found
