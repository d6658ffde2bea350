"""The lock of a working directory, held by a controller on another machine."""

import json

import pytest

from tests.snakemake.crashed import ONE, effects, lock, make
from tests.snakemake.harness import on


@pytest.mark.parametrize("torn", [False, True])
def test_a_stale_lock_of_another_machine_is_taken_over(project, pool, torn):
    work = make(project, ONE)
    path = lock(work, 600)
    if torn:
        path.write_text('{"host": "else')
    (work.directory / "go").touch()
    work.run(*on(pool, "node1"), "--nolock").expect(0)
    assert not path.exists()


def test_a_fresh_lock_of_another_machine_refuses(project, pool):
    work = make(project, ONE)
    path = lock(work, 5)
    run = work.run(*on(pool, "node1"), "--nolock").expect(1)
    assert "another harbor controller (process 4711 on elsewhere" in run.text and "Traceback" not in run.text
    assert json.loads(path.read_text())["pid"] == 4711, "the lock is still theirs"
    assert effects(work) == []
