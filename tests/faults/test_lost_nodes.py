"""An orderly shutdown of a node, or the loss of its working directory, costs an attempt but never a retry."""

from tests.faults.conftest import SOONER
from tests.sshd import wait_until


def test_an_orderly_shutdown_costs_one_attempt(lab, scene):
    """TERM reaches the job first, but this is not the job's own failure."""
    play = scene("a b")
    run = play.start("1/host1 1/host2", "--harbor-lost-after", "100")
    host = play.await_start("a")
    play.await_start("b")
    lab.fault(host, "shutdown")
    lab.fault(host, "reboot")
    run.until(rf"node {host} is back", 45)
    play.go("b")
    play.await_start("a", 2)
    play.finish(run)
    play.ran_once("a", attempts=2)
    play.ran_once("b")
    assert play.fences() == []


def test_a_node_that_is_shut_down_for_good_costs_only_time(lab, scene):
    play = scene("a b")
    run, (off, _), (free,) = play.settle(SOONER)
    lab.fault(off, "shutdown")
    assert play.await_start("a", 2, 60) == free
    play.finish(run)
    play.ran_once("a", attempts=2)
    play.ran_once("b")


def test_a_users_pkill_of_everything_that_has_to_do_with_a_job_is_its_failure(lab, scene):
    """Agent, guardian and job get TERM as in a shutdown, but other processes such as sshd do not."""
    play = scene("a")
    run = play.start("1/host1")
    host = play.await_start("a")
    victims = play.agents(host) + play.guardians(host) + play.workers(host)
    shells = [pid for pid, argv in lab.processes(host) if "work" in " ".join(argv) and pid not in victims]
    lab.exec(host, ["kill", *map(str, victims + shells)], check=True)
    run.wait(60)
    run.expect(1)
    assert "exit code 143" in run.text
    play.go()
    play.nothing_left()


def test_a_node_that_loses_the_directory_gets_no_job_until_it_is_back(lab, scene):
    """Jobs that fail there meanwhile run elsewhere, and no retry is used up."""
    play = scene("a b c")
    run = play.start("1/host1 1/host2")
    wait_until(lambda: sum(len(play.starts(job)) for job in play.jobs) == 2, 30, "two jobs")
    lost, other = (job for job in play.jobs if play.starts(job))
    later = next(job for job in play.jobs if not play.starts(job))
    (host,), (good,) = play.starts(lost), play.starts(other)
    lab.fault(host, "lose-shared")
    play.kill(host, play.workers(host))  # it cannot go on without its files
    play.go(other)
    wait_until(lambda: len(play.starts(lost) + play.starts(later)) == 2, 30, "the next job")
    play.go(lost, later)
    play.await_start(later)
    assert play.await_start(lost, 2) == good and play.starts(later) == [good]
    lab.fault(host, "restore-shared")
    play.finish(run)
    play.ran_once(other, later)
    play.ran_once(lost, attempts=2)


def test_a_node_that_boots_before_its_mount_is_back_as_soon_as_that(lab, scene):
    play = scene("a")
    run = play.start("1/host1")
    host = play.await_start("a")
    lab.fault(host, "reboot-unshared")
    run.until(r"(?i)working directory", 45)
    assert play.starts("a") == [host]
    lab.fault(host, "restore-shared")
    play.await_start("a", 2, 60)
    play.finish(run)
    play.ran_once("a", attempts=2)


def test_a_directory_that_is_away_at_a_reconnect_costs_nothing(lab, scene):
    """The end of a job that has ended there meanwhile is reported."""
    play = scene("a")
    run = play.start("1/host1")
    host = play.await_start("a")
    lab.fault(host, "kill-sshd")
    lab.fault(host, "drop-connections")
    lab.fault(host, "lose-shared")
    play.go("a")
    play.await_end("a")
    lab.fault(host, "start-sshd")
    run.until(r"(?i)working directory", 45)
    lab.fault(host, "restore-shared")
    play.finish(run)
    play.ran_once("a")
