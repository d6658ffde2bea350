"""`harbor detach`, a closed terminal, a second SIGTERM and repeated Ctrl-C: some jobs go on, others end."""

import ctypes
import json
import os
import re
import signal
import time
import uuid
from pathlib import Path

import pytest

from tests.snakemake.harness import Run, Workdir, apart, jobs_of, on
from tests.sshd import wait_until

AGAIN = ("--rerun-incomplete", "--nolock", "--scheduler", "harbor")
WAITING = """
    onerror:
        shell("touch failed")

    rule all:
        input: expand("out/{i}", i=range(6))

    rule one:
        output: "out/{i}"
        shell:
            "echo {wildcards.i} >> effects; until [ -e go/{wildcards.i} ] || [ -e go/all ]; do sleep 0.1; done; "
            "echo done > {output}"
"""
STUBBORN = """
    rule all:
        input: expand("out/{i}", i=range(6))

    rule one:
        output: "out/{i}"
        shell:
            "trap '' TERM INT HUP; echo {wildcards.i} >> effects; (setsid sleep 300 &); sleep 300; touch {output}"
"""


def effects(work: Workdir) -> list[str]:
    path = work.directory / "effects"
    return sorted(path.read_text().split()) if path.exists() else []


def go(work: Workdir, *names: str) -> None:
    for name in names:
        (work.directory / "go" / name).touch()


def begin(work: Workdir, options: list[str], running: int, mark: str | None = None, before: str = "") -> Run:
    (work.directory / "go").mkdir(exist_ok=True)
    marked = ("--envvars", "HARBOR_TEST") if mark else ()
    run = work.start(*options, *marked, env={"HARBOR_TEST": mark} if mark else None, before=before)
    wait_until(lambda: len(effects(work)) == running, 40, f"{running} running jobs")
    return run


def signal_aside(run: Run, number: int) -> None:
    """Send a signal that does not wake the main thread, as if it came just before the thread waits."""
    main, other = sorted(map(int, os.listdir(f"/proc/{run.process.pid}/task")))[:2]
    assert main == run.process.pid and ctypes.CDLL(None).tgkill(main, other, int(number)) == 0


@pytest.mark.parametrize("how", ["command", "json", "hangup"])
def test_detached_jobs_go_on_and_the_same_command_takes_them_over(project, pool, how):
    work, mark = project(WAITING), uuid.uuid4().hex
    options = [*apart(pool, work.directory, "2/node1", "2/node2"), *AGAIN, "--harbor-on-hangup", "detach"]
    first = begin(work, options, 4, mark)
    started = effects(work)
    if how == "hangup":
        signal_aside(first, signal.SIGHUP)
    else:
        told = work.harbor("detach", *(["--json"] if how == "json" else []))
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["jobs"] >= 4 if how == "json" else "detached" in told.stdout
    assert first.wait(15) == 1
    assert "detaching" in first.text
    assert not [word for word in ("rror", "Traceback", "failed", "Exiting because") if word in first.text], first.text
    assert not work.files("failed"), "the workflow's onerror: nothing failed"
    assert len(jobs_of(mark)) >= 4, "the jobs go on"
    status = json.loads(work.harbor("status", "--json").stdout)
    assert status["state"] == "detached"
    assert sorted(job["state"] for job in status["jobs"] if job["state"] == "running") == ["running"] * 4
    go(work, *started[:2])
    wait_until(lambda: work.files("out/*") == started[:2], 20, "two jobs that end while nobody looks")
    second = work.start(*options, "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": mark})
    second.until(r"(adopted(.|\n)*){4}")
    wait_until(lambda: len(effects(work)) == 6, 30, "the jobs that had not started")
    go(work, "all")
    second.wait()
    second.expect(0)
    assert second.text.count("has ended on") == 2, "ended meanwhile, taken over"
    assert effects(work) == [str(i) for i in range(6)], "each ran once"
    assert (work.directory / "out/0").read_text() == "done\n"
    wait_until(lambda: not jobs_of(mark), 10, "no process left")
    assert json.loads(work.harbor("status", "--json").stdout)["state"] == "ended"


def test_detaching_between_jobs_that_end_loses_none(project, pool):
    """Short jobs end at this moment. The next run takes over ends that Snakemake has not recorded. None runs twice."""
    work = project(WAITING.replace("range(6)", "range(500)"))
    go_on = work.directory / "go"
    go_on.mkdir()
    (go_on / "all").touch()
    options = [*apart(pool, work.directory, "2/node1", "2/node2"), *AGAIN]
    first = work.start(*options)
    wait_until(lambda: len(effects(work)) >= 8, 40, "some jobs")
    assert work.harbor("detach").returncode == 0
    assert first.wait(15) == 1
    assert "rror" not in first.text, first.text
    work.run(*options).expect(0)
    assert sorted(effects(work), key=int) == [str(i) for i in range(500)]


def test_a_hangup_that_is_ignored_changes_nothing(project, pool):
    """nohup ignores SIGHUP."""
    work = project(WAITING)
    ignored = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    run = begin(work, [*on(pool, "4/node1"), "--harbor-on-hangup", "detach"], 4, before=ignored)
    run.signal(signal.SIGHUP)
    go(work, "all")
    run.wait()
    run.expect(0)
    assert "detaching" not in run.text
    assert len(work.files("out/*")) == 6


def ended(work: Workdir, run: Run, mark: str, within: float) -> None:
    """Check that the run has ended and none of its processes is left."""
    began = time.monotonic()
    run.wait(within)
    wait_until(lambda: not jobs_of(mark), max(1.0, within - (time.monotonic() - began)), "no process left")
    assert run.code == 1, run.text
    assert "Traceback" not in run.text, run.text
    assert json.loads(work.harbor("status", "--json").stdout)["state"] == "ended"


def test_a_second_sigterm_is_ctrl_c(project, pool):
    work, mark = project(STUBBORN), uuid.uuid4().hex
    run = begin(work, [*on(pool, "2/node1", "1/node2")], 3, mark)
    run.signal(signal.SIGTERM)
    run.until("Will exit after finishing currently running jobs")
    assert len(jobs_of(mark)) >= 3, "the first lets run what runs"
    run.signal(signal.SIGTERM)
    ended(work, run, mark, 12)
    assert len(effects(work)) == 3


def test_a_signal_that_does_not_wake_the_main_thread_is_heeded_all_the_same(project, pool):
    """No job ends meanwhile, so nothing else wakes the main thread."""
    work, mark = project(STUBBORN), uuid.uuid4().hex
    run = begin(work, [*on(pool, "2/node1")], 2, mark)
    signal_aside(run, signal.SIGTERM)
    run.until("Will exit after finishing currently running jobs", 10)
    signal_aside(run, signal.SIGINT)
    ended(work, run, mark, 12)


@pytest.mark.parametrize(
    ("number", "gap"),
    [(signal.SIGINT, 0.0), (signal.SIGINT, 0.02), (signal.SIGINT, 1.0), (signal.SIGTERM, 0.2), (signal.SIGTERM, 1.0)],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_impatient_user_orphans_nothing(project, pool, number, gap):
    """The second and third Ctrl-C (or the third and fourth SIGTERM) come while jobs that ignore TERM are ended."""
    work, mark = project(STUBBORN), uuid.uuid4().hex
    run = begin(work, [*on(pool, "2/node1", "1/node2")], 3, mark)
    wait_until(lambda: len(jobs_of(mark)) >= 6, 10, "the jobs' processes")
    for _ in range(3 if number == signal.SIGINT else 4):
        if run.code is None:
            run.signal(number)
        time.sleep(gap)
    ended(work, run, mark, 12)


@pytest.mark.parametrize(
    "command", [("detach",), ("drain", "node1"), ("resume", "node1"), ("stop",)], ids=lambda c: c[0]
)
def test_without_a_controller_there_is_a_clear_error(project, pool, command):
    work = project('rule all:\n    output: "x"\n    shell: "touch {output}"\n')
    before = work.harbor(*command)
    assert before.returncode == 1 and "no harbor run in" in before.stderr
    work.run(*on(pool, "node1")).expect(0)
    after = work.harbor(*command)
    assert after.returncode == 1 and re.search("no controller|no run goes on", after.stderr)
    for told in (before, after):
        assert "Traceback" not in told.stderr and not told.stdout
    assert Path(work.directory / "x").exists()
