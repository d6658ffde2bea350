"""Nodes that stay silent: their jobs run elsewhere, after whatever may still run there has been ended."""

import time

from tests.faults.conftest import FENCE_WAIT, LOST_AFTER, Line, other
from tests.sshd import wait_until


def settle(play, jobs="a"):
    """Start a run with these jobs, one on a host; (run, hosts of the jobs, all other hosts)."""
    run = play.start("1/host1 1/host2 1/host3")
    hosts = [play.await_start(job) for job in jobs]
    return run, hosts, other(play.lab, *hosts)


def test_a_power_cut_for_good_costs_only_time(lab, scene):
    play = scene("a b")
    run, (dead, _), (free,) = settle(play, "ab")
    lab.fault(dead, "crash")
    assert play.await_start("a", 2, 60) == free
    play.finish(run)
    play.ran_once("a", attempts=2)
    play.ran_once("b")


def test_a_job_that_was_cut_off_ends_before_it_runs_elsewhere(lab, scene):
    """Two hosts are cut off for longer than --harbor-lost-after. One is back while the run lasts, one after its end."""
    play = scene("a b")
    run, (back, late), (free,) = settle(play, "ab")
    lab.fault(back, "partition")
    lab.fault(late, "partition")
    wait_until(lambda: len(play.fences()) == 2, 45, "two fences")
    # One slot is free, for one of the two jobs; the other one waits for it, or for the host that is back.
    wait_until(lambda: len(play.starts("a") + play.starts("b")) == 3, 20, "a job elsewhere")
    assert not play.guardians(back) and not play.guardians(late)
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
    """As NFS may have it: for some seconds the host that is cut off sees the directory of the fences as it was."""
    play = scene("a")
    run, (host,), _ = settle(play)
    fences = play.directory / ".snakemake/harbor/fence"
    fences.mkdir()
    lab.exec(host, ["mkdir", "/tmp/old"], check=True)
    lab.exec(host, ["mount", "--bind", "/tmp/old", str(fences)], check=True)
    lab.fault(host, "partition")
    wait_until(play.fences, 45, "the fence")
    time.sleep(FENCE_WAIT / 2)  # the cache's time
    assert play.guardians(host)
    lab.exec(host, ["umount", str(fences)], check=True)
    wait_until(lambda: not play.guardians(host), FENCE_WAIT / 2, "the end of the fenced job")
    assert play.starts("a") == [host]
    play.await_start("a", 2)
    lab.fault(host, "heal")
    play.go()
    run.wait()
    run.expect()
    play.nothing_left(60)
    play.ran_once(attempts=2)


def test_a_host_that_stands_still_for_a_moment_loses_nothing(lab, scene):
    play = scene("a")
    run, (host,), _ = settle(play)
    lab.fault(host, "freeze")
    time.sleep(LOST_AFTER)  # the same time again has to pass before the silence is noticed
    lab.fault(host, "thaw")
    play.await_news("a")
    play.finish(run)
    play.ran_once()
    assert "is not used" not in run.text and play.fences() == []


def test_a_job_that_stood_still_for_too_long_ends_when_it_wakes(lab, scene):
    """A host is frozen until its job runs elsewhere, then goes on.

    That the old attempt does nothing any more cannot be guaranteed: job and agent wake together, and the agent has to
    read the fence first. It does so at once, hence a few ticks at most. What is written once at the end is written once
    unless the end falls into these moments.
    """
    play = scene("a")
    run, (host,), _ = settle(play)
    lab.fault(host, "freeze")
    play.await_start("a", 2, 60)
    lab.fault(host, "thaw")
    wait_until(lambda: not play.guardians(host), 5, "the end of the fenced job")
    count = len(play.told("a"))
    play.finish(run)
    told = play.told("a")
    late = [
        number
        for number, line in enumerate(told)
        if line.attempt == 1 and number > told.index(("start", *told[-1][1:]))
    ]
    assert len(late) <= 10 and all(told[number].what == "tick" and number < count for number in late), told
    assert [line for line in told if line.what == "end"] == [Line("end", play.starts("a")[1], 2)]
    assert (play.directory / "out/a").read_text() == "a\n"
