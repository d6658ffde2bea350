"""Hosts and controllers stand still for a while and then go on."""

import signal
import time

from tests.faults.conftest import LOST_AFTER, SOONER, Line
from tests.snakemake.harness import setting
from tests.sshd import wait_until

SILENCE_S = 6.0


def test_a_controller_that_sleeps_loses_nothing(lab, scene):
    """The controller is suspended for longer than --harbor-lost-after. No node is blamed for lost messages."""
    play = scene("a b c d")
    run = play.start("2/host1 2/host2", before=setting("remote.connection.SILENCE_S", SILENCE_S))
    for job in play.jobs:
        play.await_start(job)
    run.signal(signal.SIGSTOP)
    play.go("a", "b")
    play.await_end("a")
    play.await_end("b")
    time.sleep(SILENCE_S + LOST_AFTER + 2)
    run.signal(signal.SIGCONT)
    play.await_news("c")
    play.finish(run)
    play.ran_once()
    assert "is not used" not in run.text and play.fences() == []


def test_a_host_that_stands_still_for_a_moment_loses_nothing(lab, scene):
    play = scene("a")
    run, (host,), _ = play.settle()
    lab.fault(host, "freeze")
    time.sleep(LOST_AFTER)  # the same time again has to pass before the silence is noticed
    lab.fault(host, "thaw")
    play.await_news("a")
    play.finish(run)
    play.ran_once()
    assert "is not used" not in run.text and play.fences() == []


def test_a_job_that_stood_still_for_too_long_ends_when_it_wakes(lab, scene):
    """A host is frozen until its job runs elsewhere, then goes on.

    It cannot be guaranteed that the old attempt does nothing any more, because job and agent wake together, and the
    agent has to read the fence first. It reads it at once, so the job writes a few ticks at most. A line that is
    written once at the end is written once unless the end falls into these moments.
    """
    play = scene("a")
    run, (host,), _ = play.settle(SOONER)
    lab.fault(host, "freeze")
    play.await_start("a", 2, 60)
    lab.fault(host, "thaw")
    wait_until(lambda: not play.workers(host), 5, "the end of the fenced job")
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
