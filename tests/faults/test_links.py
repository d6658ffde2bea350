"""When connections break, stall or are slow, each job goes on and runs once, without help of the user."""

import time

from tests.faults.conftest import RULES, SOONER


def test_connections_that_drop_twice_are_not_a_failure(lab, scene):
    play = scene("a b c d e f")
    run = play.start("2/host1 2/host2 2/host3")
    for job in play.jobs:
        play.await_start(job)
    for number, job in enumerate("ab", 1):
        for host in lab.hosts:
            lab.fault(host, "drop-connections")
        play.go(job)
        run.until(rf"(node host. is back(.|\n)*){{{3 * number}}}")
    play.finish(run)
    play.ran_once()


def test_a_server_that_is_killed_and_started_again_is_not_a_failure(lab, scene):
    """The results of jobs that end while no login is possible are reported afterwards."""
    play = scene("a b c d")
    run = play.start("2/host1 2/host2")
    for job in play.jobs:
        play.await_start(job)
    for host in ("host1", "host2"):
        lab.fault(host, "kill-sshd")
        lab.fault(host, "drop-connections")
    run.until(r"(node host. is not used .backoff.(.|\n)*){2}")
    play.go("a", "b")
    play.await_end("a")
    play.await_end("b")
    assert not play.work.files("out/*.incomplete") and "is back" not in run.text
    for host in ("host1", "host2"):
        lab.fault(host, "start-sshd")
    run.until(r"(node host. is back(.|\n)*){2}")
    play.await_news("c")
    play.finish(run)
    play.ran_once()


WITHOUT_OUTPUT = """
    rule one:
        shell: "sh work a out/a"
"""


def test_an_end_that_only_word_tells_of_counts_once(lab, scene):
    """A run ends while the node of its last job cannot be reached. The record on that node does not count for the same
    job in the next run, because a job without outputs runs every time.
    """
    play = scene("a", WITHOUT_OUTPUT)
    (play.directory / "out").mkdir()
    for number in (1, 2):
        run = play.start("1/host1", "one")
        play.await_start("a", number)
        if number == 1:
            lab.fault("host1", "kill-sshd")
            lab.fault("host1", "drop-connections")
            run.until("node host1 is not used")
        play.go()
        run.wait()
        run.expect()
        lab.fault("host1", "start-sshd")
    assert play.starts("a") == ["host1", "host1"]
    play.nothing_left()


def test_a_partition_that_heals_in_time_is_not_a_failure(lab, scene):
    """The partition ends before or after harbor has noticed it."""
    play = scene("a b")
    run = play.start("1/host1 1/host2", before=SOONER)
    hosts = [play.await_start(job) for job in play.jobs]
    brief, noticed = hosts
    lab.fault(noticed, "partition")
    lab.fault(brief, "partition")
    time.sleep(3)  # shorter than a silence that harbor notices
    lab.fault(brief, "heal")
    run.until(rf"node {noticed} is not used")
    lab.fault(noticed, "heal")
    run.until(rf"node {noticed} is back")
    assert f"node {brief}" not in run.text
    play.await_news("b")
    play.finish(run)
    play.ran_once()
    assert play.fences() == []


def test_a_slow_link_is_only_slow(lab, scene):
    """With 256 kbit/s from the start, the agent still arrives, and a job's large output does not use the link."""
    flood = RULES.replace('shell: "', 'shell: "head -c 3000000 /dev/zero | tr \\\\\\\\0 x; ')
    play = scene("a b c d", flood)
    lab.fault("host1", "slow")
    run = play.start("2/host1 2/host2")
    for job in play.jobs:
        play.await_start(job)
    assert "host1" in {play.starts(job)[0] for job in play.jobs}
    play.finish(run)
    play.ran_once()
    assert "is not used" not in run.text
