"""Jobs of silent nodes run elsewhere, after everything that may still run there has been ended."""

import time

from tests.faults.conftest import FENCE_WAIT, SOONER
from tests.sshd import wait_until


def test_a_power_cut_for_good_costs_only_time(lab, scene):
    play = scene("a b")
    run, (dead, _), (free,) = play.settle(SOONER)
    lab.fault(dead, "crash")
    assert play.await_start("a", 2, 60) == free
    play.finish(run)
    play.ran_once("a", attempts=2)
    play.ran_once("b")


def test_a_job_that_was_cut_off_ends_before_it_runs_elsewhere(lab, scene):
    """Two hosts are cut off for longer than --harbor-lost-after. One comes back during the run, one after it."""
    play = scene("a b")
    run, (back, late), (free,) = play.settle()
    lab.fault(back, "partition")
    lab.fault(late, "partition")
    wait_until(lambda: len(play.fences()) == 2, 45, "two fences")
    # One slot is free for one of the two jobs. The other job waits for it, or for the host that comes back.
    wait_until(lambda: len(play.starts("a") + play.starts("b")) == 3, 20, "a job elsewhere")
    assert not play.workers(back) and not play.workers(late)
    lab.fault(back, "heal")
    run.until(rf"node {back} is back", 60)
    play.go()
    run.wait()
    run.expect()
    assert play.lab.processes(late)
    lab.fault(late, "heal")
    play.nothing_left(60)
    for job in play.jobs:
        play.ran_once(job, attempts=2)
        assert play.starts(job)[1] in (free, back)


def test_a_fence_that_is_seen_late_is_still_seen_in_time(lab, scene):
    """As with NFS, the host that is cut off sees the old content of the fence directory for some seconds."""
    play = scene("a")
    run, (host,), _ = play.settle(SOONER)
    fences = play.directory / ".snakemake/harbor/fence"
    fences.mkdir()
    lab.exec(host, ["mkdir", "/tmp/old"], check=True)
    lab.exec(host, ["mount", "--bind", "/tmp/old", str(fences)], check=True)
    lab.fault(host, "partition")
    wait_until(play.fences, 45, "the fence")
    time.sleep(FENCE_WAIT / 2)  # the time that the cache lasts
    assert play.workers(host)
    lab.exec(host, ["umount", str(fences)], check=True)
    wait_until(lambda: not play.workers(host), FENCE_WAIT / 2, "the end of the fenced job")
    assert play.starts("a") == [host]
    play.await_start("a", 2)
    lab.fault(host, "heal")
    play.go()
    run.wait()
    run.expect()
    play.nothing_left(60)
    play.ran_once(attempts=2)
