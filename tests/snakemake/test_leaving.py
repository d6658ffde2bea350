"""Fences, exit notices and the journal, when a controller ends or cannot write."""

import contextlib
import json
import os
import signal
import sqlite3
import threading
from pathlib import Path

import psutil

from tests.snakemake.crashed import AGAIN, effects
from tests.snakemake.harness import Workdir, on
from tests.snakemake.test_identity import PLAIN, alive, crash, finish, local, silent
from tests.sshd import hosts, wait_until


def sessions(pool, name: str) -> list[psutil.Process]:
    """Return the processes of a node's SSH connections, without those of jobs."""
    found = []
    for process in psutil.Process(pool[name].pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "sshd" in process.name():
                found.append(process)
    return found


def fences(work: Workdir) -> list[str]:
    return [name for name in work.files(".snakemake/harbor/fence/*") if ".word" not in name]


def test_ctrl_c_fences_what_it_cannot_reach(project, tmp_path):
    """The node was cut off just before, so the controller has not noticed it yet."""
    work = project(PLAIN)
    with hosts(2, tmp_path / "sshd") as pool:
        options = silent(work, tmp_path, pool, "--harbor-lost-after", "600", "--harbor-fence-wait", "5")
        run = work.start(*options)
        wait_until(lambda: effects(work), 90, "the job")
        (effect,) = effects(work)
        stopped = sessions(pool, effect[1])
        assert stopped
        for process in stopped:
            process.suspend()
        try:
            run.signal(signal.SIGINT)
            run.wait(40)
            assert len(fences(work)) == 1
            wait_until(lambda: not alive(effect[2]), 15, "the end of the fenced job")
        finally:
            for process in stopped:
                process.resume()
        pool[effect[1]].stop()
        again = work.start(*options)
        wait_until(lambda: len(effects(work)) == 2, 60, "the new execution: only the fence is waited for")
        finish(work, again)


def test_a_fence_that_cannot_be_written_is_tried_again_and_the_job_waits(project, tmp_path):
    """The shared filesystem is full."""
    work = project(PLAIN)
    with hosts(2, tmp_path / "sshd") as pool:
        options = silent(work, tmp_path, pool, "--harbor-lost-after", "3", "--harbor-fence-wait", "5")
        run = work.start(*options)
        wait_until(lambda: effects(work), 90, "the job")
        (effect,) = effects(work)
        (work.directory / ".snakemake/harbor/fence").write_text("in the way")
        pool[effect[1]].drop()
        pool[effect[1]].stop()
        run.until("harbor/fence cannot be written", 60)
        assert effects(work) == [effect] and alive(effect[2])
        (work.directory / ".snakemake/harbor/fence").unlink()
        wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
        assert not alive(effect[2]), "the old one has ended before"
        finish(work, run)


def test_a_journal_that_cannot_be_written_ends_nothing(project, tmp_path):
    work = project(PLAIN)
    run = work.start(*local(tmp_path))
    wait_until(lambda: effects(work), 90, "the job")
    path = Path(json.loads((work.directory / ".snakemake/harbor/run.json").read_text())["journal"])
    other = sqlite3.connect(path, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    try:
        run.until("the journal .* cannot be written", 30)
        finish(work, run)
    finally:
        other.close()
    assert run.text.count("cannot be written") == 1 and "Traceback" not in run.text


def test_an_edited_job_waits_for_its_old_version_on_a_node_that_answers_late(project, tmp_path):
    work = project(PLAIN)
    with hosts(2, tmp_path / "sshd") as pool:
        options = silent(work, tmp_path, pool, "--harbor-lost-after", "600")
        crash(work, options)
        (effect,) = effects(work)
        pool[effect[1]].stop()
        snakefile = work.directory / "Snakefile"
        snakefile.write_text(snakefile.read_text().replace("echo done", "true; echo done"))
        again = work.start(*options)
        again.until(f"node {effect[1]} is not used", 60)
        pool[effect[1]].start()
        wait_until(lambda: len(effects(work)) == 2, 90, "the new execution")
        assert not alive(effect[2]), "the old one has ended before"
        finish(work, again)


def test_an_old_version_that_does_not_end_is_waited_for(project, tmp_path):
    """The old version cannot be ended at once. The new job is not started beside it, and the log says why it waits."""
    deaf = PLAIN.replace('shell: "', "shell: \"trap '' TERM; ")
    work = project(deaf)
    options = local(tmp_path)
    crash(work, options)
    (effect,) = effects(work)
    old = psutil.Process(int(effect[2]))
    snakefile = work.directory / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("echo done", "true; echo done"))
    beside = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            beside.append(len(effects(work)) > 1 and old.is_running())
            stop.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        again = work.start(*options)
        wait_until(lambda: len(effects(work)) == 2, 60, "the new execution")
    finally:
        stop.set()
        watcher.join()
    assert not any(beside), "it was killed before"
    finish(work, again)


def test_a_torn_notice_loses_no_other(project, pool, tmp_path):
    """Two jobs have ended without a controller. One of the notices is incomplete for a while."""
    rules = PLAIN.replace('"out"', 'expand("out{i}", i=[1, 2])', 1).replace('"out"', '"out{i}"')
    work = project(rules)
    first = [*on(pool, "2/node1"), *AGAIN, "--harbor-scratch", str(tmp_path / "one")]
    crash(work, first, 2)
    (work.directory / "go").touch()
    wait_until(lambda: len(work.files(".snakemake/harbor/fence/*.word")) == 2, 30, "two notices")
    torn = sorted(work.directory.glob(".snakemake/harbor/fence/*.word"))[0]
    whole = torn.read_bytes()
    torn.write_bytes(whole[:20])
    options = ("--harbor-scratch", str(tmp_path / "two"), "--harbor-fence-wait", "30")
    again = work.start(*on(pool, "2/node2"), *AGAIN, *options)
    again.until("has ended on node1", 60)
    draft = torn.with_suffix(".draft")
    draft.write_bytes(whole)
    os.replace(draft, torn)
    again.wait(90)
    again.expect()
    assert again.text.count("has ended on node1") == 2 and len(effects(work)) == 2
