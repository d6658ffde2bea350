"""`harbor forget`: what runs on a node that the user gives up is fenced and runs elsewhere at once."""

import os

from tests.snakemake.crashed import AGAIN, ONE, crash, effects, finish, make
from tests.snakemake.harness import apart
from tests.sshd import hosts, wait_until

PATIENT = ("--harbor-lost-after", "900", "--harbor-fence-wait", "900")
OTHER = {"node1": "node2", "node2": "node1"}


def give_up(work, run, silent):
    """Type what `explain` says, and wait for the new attempt."""
    wait_until(
        lambda: f"harbor forget {silent}\n" in work.harbor("explain", "one").stdout, 15, "the command in explain"
    )
    assert f"{silent} is given up" in work.harbor("forget", silent).stdout
    assert "given up by the user" in " ".join(work.harbor("status").stdout.split())
    wait_until(lambda: len(effects(work)) == 2, 20, "the new attempt")
    assert effects(work)[1][1] == OTHER[silent]
    assert work.files(".snakemake/harbor/fence/*")


def test_a_node_that_dies_while_it_runs_a_job(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run = work.start(*apart(pool, work.directory, "1/node1", "1/node2"), *PATIENT)
        wait_until(lambda: effects(work), 30, "the job")
        (old,) = effects(work)
        assert f"node {old[1]} is connected" in work.harbor("forget", old[1]).stderr
        pool[old[1]].drop()
        pool[old[1]].stop()
        run.until(f"node {old[1]} is not used")
        give_up(work, run, old[1])
        wait_until(lambda: not os.path.exists(f"/proc/{old[2]}"), 15, "the fence ends the old attempt")
        finish(work, run)
    assert len(effects(work)) == 2


def test_a_node_that_may_run_a_job_of_an_earlier_run(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        options = [*apart(pool, work.directory, "1/node1", "1/node2"), *AGAIN, *PATIENT]
        crash(work, options)
        (old,) = effects(work)
        pool[old[1]].stop()
        run = work.start(*options)
        run.until(f"node {old[1]} is not used")
        give_up(work, run, old[1])
        wait_until(lambda: not os.path.exists(f"/proc/{old[2]}"), 15, "the fence ends the old attempt")
        finish(work, run)
    assert len(effects(work)) == 2
