"""After kill -9 of the controller, Ctrl-C or SIGTERM, no job is lost or runs twice, and no process is left."""

import signal
import time
import uuid
from pathlib import Path

import pytest

from tests.snakemake.harness import jobs_of, on
from tests.sshd import hosts, wait_until

WAITING = """
    rule all:
        input: expand("out/{i}", i=range(20))

    rule one:
        output: "out/{i}"
        log: "logs/{i}"
        params: letters={"a", "b", "c"}
        retries: 1
        shell:
            "echo {wildcards.i} >> effects; until [ -e go/{wildcards.i} ] || [ -e go/all ]; do sleep 0.1; done; "
            "echo {params.letters} > {log}; echo done > {output}"
"""


def effects(directory: Path) -> list[str]:
    path = directory / "effects"
    return sorted(path.read_text().split(), key=int) if path.exists() else []


EVERY = [str(i) for i in range(20)]


def test_after_kill_9_every_job_is_adopted_and_ran_once(project, pool):
    """20 jobs run on four nodes, and some end without a controller. The same command takes all of them over."""
    work = project(WAITING)
    (work.directory / "go").mkdir()
    options = [*on(pool, "5/node1", "5/node2", "5/node3", "5/node4"), "--rerun-incomplete", "--nolock"]
    # A set has another order in another process, so Snakemake would see changed params of finished jobs.
    options += ["--scheduler", "harbor", "--rerun-triggers", "mtime"]
    first = work.start(*options)
    wait_until(lambda: effects(work.directory) == EVERY, 40, "20 started jobs")
    for i in range(3):
        (work.directory / "go" / str(i)).touch()
    wait_until(lambda: len(work.files("out/*")) == 3, 20, "three outputs")
    first.kill()
    for i in range(3, 8):
        (work.directory / "go" / str(i)).touch()
    wait_until(lambda: len(work.files("out/*")) == 8, 20, "outputs of jobs that ended without a controller")
    second = work.start(*options)
    second.until(r"adopted(.|\n)*" * 10, 30)
    (work.directory / "go" / "all").touch()
    second.wait(60)
    second.expect(0)
    assert effects(work.directory) == EVERY, "each job ran exactly once"
    assert len(work.files("out/*")) == 20
    again = work.run(*options).expect(0)
    assert "Nothing to be done" in again.text


def test_a_job_that_was_edited_is_not_adopted_but_ended_first(project, pool):
    work = project(WAITING.replace("range(20)", "range(1)"))
    (work.directory / "go").mkdir()
    options = [*on(pool, "2/node1"), "--rerun-incomplete", "--nolock"]
    first = work.start(*options)
    wait_until(lambda: effects(work.directory) == ["0"], 30, "a started job")
    first.kill()
    snakefile = work.directory / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("echo done", "echo edited"))
    (work.directory / "go" / "all").unlink(missing_ok=True)
    second = work.start(*options)
    wait_until(lambda: effects(work.directory) == ["0", "0"], 30, "the edited job")
    (work.directory / "go" / "all").touch()
    second.wait()
    second.expect(0)
    assert (work.directory / "out/0").read_text() == "edited\n"


def test_two_controllers_on_one_directory_are_refused(project, pool):
    work = project(WAITING.replace("range(20)", "range(1)"))
    (work.directory / "go").mkdir()
    options = [*on(pool, "node1"), "--nolock"]
    first = work.start(*options)
    wait_until(lambda: effects(work.directory) == ["0"], 30, "a started job")
    second = work.run(*options).expect(1)
    assert "another harbor controller" in second.text and "Traceback" not in second.text
    (work.directory / "go" / "all").touch()
    first.wait()
    first.expect(0)


STUBBORN = """
    rule all:
        input: expand("out/{i}", i=range(12))

    rule one:
        output: "out/{i}"
        shell:
            "trap '' TERM; echo {wildcards.i} >> effects; (setsid sleep 300 &) ; sleep 300; touch {output}"
"""


@pytest.mark.parametrize("nodes", [("2/localhost",), ("1/node1", "1/node2")], ids=["localhost", "ssh"])
def test_ctrl_c_leaves_no_process_and_no_old_output_is_lost(project, pool, nodes):
    """Jobs that ignore TERM and start children in other sessions end within 10 s. Jobs that never started under
    --forceall still have their outputs."""
    work = project(STUBBORN)
    (work.directory / "out").mkdir()
    for i in range(12):
        (work.directory / "out" / str(i)).write_text("old")
    mark = uuid.uuid4().hex
    run = work.start(*on(pool, *nodes), "--forceall", "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": mark})
    wait_until(lambda: len(effects(work.directory)) == 2, 30, "two running jobs")
    started = effects(work.directory)
    wait_until(lambda: len(jobs_of(mark)) >= 4, 10, "the jobs' processes")
    run.signal(signal.SIGINT)
    began = time.monotonic()
    run.wait(15)
    wait_until(lambda: jobs_of(mark) == [], 10 - (time.monotonic() - began) + 0.5, "no process left")
    assert run.code == 1
    assert set(work.files("out/*")) >= {str(i) for i in range(12)} - set(started), "old outputs"


def test_sigterm_starts_nothing_more_and_ends_cleanly(project, pool):
    work = project(WAITING)
    (work.directory / "go").mkdir()
    run = work.start(*on(pool, "2/node1"), "--scheduler", "harbor")
    wait_until(lambda: len(effects(work.directory)) == 2, 30, "two running jobs")
    run.signal(signal.SIGTERM)
    run.until("Will exit after finishing currently running jobs")
    (work.directory / "go" / "all").touch()
    run.wait(30)
    assert run.code == 1, run.text
    assert len(effects(work.directory)) == 2, "nothing started after SIGTERM"
    assert len(work.files("out/*")) == 2, "what ran has ended well"
    work.run(*on(pool, "8/node1")).expect(0)


def test_an_exception_of_ours_ends_the_run_with_its_traceback(project, pool):
    """A bug on one of harbor's threads does not let the run hang, and is not silent."""
    bug = (
        "from snakemake_executor_plugin_harbor.core import attempt_events\n"
        "def broken(self, event, now):\n    raise RuntimeError('a bug of ours')\n"
        "attempt_events.AttemptEvents.exited = broken\n"
    )
    work = project('rule all:\n    output: "x"\n    shell: "touch {output}"\n')
    run = work.run(*on(pool, "node1"), before=bug, timeout=40).expect(1)
    assert "internal error" in run.text and "a bug of ours" in run.text


def test_an_unreachable_node_is_fenced_before_its_job_starts_elsewhere(project, tmp_path):
    """The SSH server does not come back. The job ends there and runs once to its end on another node."""
    work = project(
        """
        rule all:
            input: "out"

        rule one:
            output: "out"
            shell:
                "echo start $HARBOR_NODE_NAME >> effects; sleep 8; "
                "echo end $HARBOR_NODE_NAME >> effects; touch {output}"
        """
    )
    with hosts(2, tmp_path / "sshd") as pool:
        run = work.start(*on(pool, "node1", "node2"), "--harbor-lost-after", "1", "--harbor-fence-wait", "5")
        path = work.directory / "effects"
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), 30, "a started job")
        first = path.read_text().split()[1]
        pool[first].drop()
        pool[first].stop()
        run.wait(60)
        run.expect(0)
    other = {"node1": "node2", "node2": "node1"}[first]
    assert path.read_text().splitlines() == [f"start {first}", f"start {other}", f"end {other}"]


def test_a_dropped_connection_is_not_a_failure(project, tmp_path):
    """Every connection is cut twice while jobs run. The jobs go on, and harbor reports their ends."""
    work = project(WAITING.replace("range(20)", "range(6)"))
    (work.directory / "go").mkdir()
    with hosts(2, tmp_path / "sshd") as pool:
        run = work.start(*on(pool, "3/node1", "3/node2"))
        wait_until(lambda: len(effects(work.directory)) == 6, 30, "six running jobs")
        for number in (1, 2):
            for name in ("node1", "node2"):
                pool[name].drop()
            (work.directory / "go" / str(number)).touch()
            run.until(rf"(node node. is back(.|\n)*){{{2 * number}}}", 30)
        (work.directory / "go" / "all").touch()
        run.wait(60)
        run.expect(0)
    assert effects(work.directory) == [str(i) for i in range(6)]
