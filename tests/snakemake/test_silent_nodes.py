"""After a crash, the node of a job does not answer, or it answers late. The job runs once."""

import json
import os

from tests.snakemake.crashed import AGAIN, ONE, crash, effects, finish, make
from tests.snakemake.harness import Run, Workdir, apart
from tests.sshd import hosts, wait_until


def silent_node(work: Workdir, pool, lost_after: int, fence_wait: int = 4, mute=False) -> tuple[Run, list[str], str]:
    """Return the run that follows a crash while the node of the job is silent, the job's effect, and the other node.

    With `mute`, the job has ended by then, and its exit notice is lost.
    """
    settings = ("--harbor-lost-after", str(lost_after), "--harbor-fence-wait", str(fence_wait))
    options = [*apart(pool, work.directory, "1/node1", "1/node2"), *AGAIN, *settings]
    crash(work, options)
    (effect,) = effects(work)
    pool[effect[1]].stop()
    if mute:
        (work.directory / "go").touch()
        wait_until(lambda: work.files(".snakemake/harbor/fence/*.word"), 10, "the notice of its end")
        next(work.directory.glob(".snakemake/harbor/fence/*.word")).unlink()
    run = work.start(*options)
    run.until(f"node {effect[1]} is not used")
    return run, effect, {"node1": "node2", "node2": "node1"}[effect[1]]


def test_a_node_that_answers_late_keeps_its_job(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 60)
        reason = "does not answer, and may still run it since an earlier run"
        wait_until(lambda: reason in work.harbor("explain", "one").stdout, 15, "explain")
        assert effects(work) == [effect], "it is not started elsewhere"
        pool[effect[1]].start()
        run.until(f"adopted .* is running on {effect[1]}", 40)
        assert json.loads(work.harbor("status", "--json").stdout)["counts"] == {"running": 1}
        finish(work, run)
    assert effects(work) == [effect]


def test_a_node_that_answers_late_had_finished_its_job(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 60)
        (work.directory / "go").touch()
        wait_until(lambda: work.files("out"), 10, "its output")
        pool[effect[1]].start()
        run.until(f"adopted .* (is running|has ended) on {effect[1]}", 40)
        finish(work, run)
    assert effects(work) == [effect]


def test_a_node_that_answers_while_its_fence_is_waited_for_had_finished_its_job(project, tmp_path):
    """Found by the soak: the job ran again although its end was known before that."""
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 2, 40, mute=True)
        wait_until(lambda: "--harbor-fence-wait" in work.harbor("explain", "one").stdout, 20, "the fence")
        pool[effect[1]].start()
        run.until(f"adopted .* has ended on {effect[1]}", 60)
        run.wait()
        run.expect(0)
    assert effects(work) == [effect]


def test_a_node_that_never_answers_is_fenced_before_its_job_runs_elsewhere(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, other = silent_node(work, pool, 6)
        wait_until(lambda: len(effects(work)) == 2, 40, "the job's new attempt")
        assert not os.path.exists(f"/proc/{effect[2]}"), "the old attempt has ended before"
        finish(work, run)
    assert effects(work)[1][1] == other and len(effects(work)) == 2
    assert (work.directory / "out").read_text() == "done\n"
