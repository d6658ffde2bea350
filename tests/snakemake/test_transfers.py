"""What crosses the connection to a node that does not have the working directory, also when it is cut."""

import os
import re
import time
from pathlib import Path

from tests.snakemake.harness import on
from tests.sshd import wait_until

ROOT = Path(__file__).parents[2]
ALWAYS = ("--harbor-staging", "always")


def test_a_second_run_moves_only_what_has_changed(pool, project, tmp_path):
    """The bytes are counted that sshd's processes have written for the node."""
    work = project(
        """
        rule all:
            input: expand("out/{i}", i=range(3))

        rule one:
            input: "in/{i}"
            output: "out/{i}"
            shell: "md5sum < {input} > {output}"
        """
    )
    (work.directory / "in").mkdir()
    for number in range(3):
        (work.directory / "in" / str(number)).write_bytes(os.urandom(1 << 20))
    scratch = tmp_path / "scratch"
    options = (*on(pool, "2/node1"), *ALWAYS, "--harbor-scratch", str(scratch))
    work.run(*options).expect()

    def contents():
        return {path for path in (scratch / "cache").rglob("*") if path.is_file() and path.stat().st_size == 1 << 20}

    before = contents()
    assert len(before) == 3
    (work.directory / "in" / "1").write_bytes(os.urandom(1 << 20))
    work.run(*options, "--forceall").expect()
    assert before < contents() and len(contents()) == 4


def test_a_cut_connection_in_the_middle_of_a_transfer(pool, project, tmp_path):
    size = 200 << 20
    work = project('rule one:\n    input: "in"\n    output: "out"\n    shell: "cp {input} {output}"\n')
    with (work.directory / "in").open("wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    scratch = tmp_path / "scratch"
    run = work.start(*on(pool, "1/node1"), *ALWAYS, "--harbor-scratch", str(scratch))

    def bytes_of(pattern):
        found = 0
        for path in scratch.glob(pattern):
            try:
                found += path.stat().st_size
            except OSError:
                pass
        return found

    wait_until(lambda: bytes_of("cache/part/*") > 10 << 20, 30)
    pool["node1"].drop()
    wait_until((work.directory / ".out.harbor-part").exists, 60)
    pool["node1"].drop()
    assert run.wait(120) == 0, run.text
    assert (work.directory / "out").read_bytes() == (work.directory / "in").read_bytes()
    assert len(re.findall("^rule one:", run.text, re.MULTILINE)) == 1
    assert time.time() - (work.directory / "out").stat().st_mtime < 600


def test_a_controller_that_is_killed_in_the_middle_of_transfers(pool, project, tmp_path):
    """First while an input is sent, then while an output is fetched. The job runs once, and nothing is left."""
    told, scratch = tmp_path / "told", tmp_path / "scratch"
    work = project(
        f'rule one:\n    input: "in"\n    output: "out"\n    shell: "echo x >> {told}; cp {{input}} {{output}}"\n'
    )
    with (work.directory / "in").open("wb") as f:
        for _ in range(80):
            f.write(os.urandom(1 << 20))
    options = (*on(pool, "1/node1"), *ALWAYS, "--harbor-scratch", str(scratch), "--rerun-incomplete", "--nolock")
    run = work.start(*options)
    wait_until(lambda: any(path.stat().st_size > 5 << 20 for path in scratch.glob("cache/part/*")), 30)
    run.kill()
    assert not told.exists(), "the job has not begun, because its input is not there"
    run = work.start(*options)
    part = work.directory / ".out.harbor-part"
    wait_until(part.exists, 60)
    run.kill()
    assert part.exists() and not (work.directory / "out").exists()
    run = work.run(*options).expect()
    assert "adopted job" in run.text and told.read_text() == "x\n"
    assert (work.directory / "out").read_bytes() == (work.directory / "in").read_bytes()
    assert not part.exists()
    wait_until(lambda: not list(scratch.glob("stage/*/*")), what="the end of the attempts' directories")
