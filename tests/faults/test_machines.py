"""Machines reboot, and harbor's programs on them are killed."""

import time

from tests.faults.conftest import RULES
from tests.snakemake.harness import setting


def test_a_reboot_costs_one_attempt(lab, scene):
    """A node that is back reports this itself, so harbor does not wait for --harbor-lost-after and uses up no retry."""
    play = scene("a b")
    run = play.start("1/host1 1/host2", "--harbor-lost-after", "100")
    host = play.await_start("a")
    play.await_start("b")
    lab.fault(host, "reboot")
    run.until(rf"node {host} is back", 45)
    play.go("b")
    play.await_start("a", 2)
    play.finish(run)
    play.ran_once("a", attempts=2)
    play.ran_once("b")
    assert play.fences() == []


def test_jobs_outlive_their_agent_and_keep_their_limits(lab, scene):
    """The agent is killed twice. Its jobs go on, the next agent knows how they ended, also meanwhile, and it ends the
    job whose `runtime` is over.
    """
    limit = "lambda wildcards, attempt: 1 if (wildcards.job, attempt) == ('slow', 1) else None"
    play = scene(
        "a b slow", RULES.replace("    shell", f"    retries: 1\n        resources: runtime={limit}\n        shell")
    )
    run = play.start("3/host1", before=setting("jobs.spec.MINUTE_S", 15.0))
    for job in play.jobs:
        play.await_start(job)
    began = time.monotonic()
    play.kill("host1", play.agents("host1"))
    play.go("a")
    play.await_end("a")
    run.until("node host1 is back")
    play.kill("host1", play.agents("host1"))
    run.until(r"(node host1 is back(.|\n)*){2}")
    play.go("b")
    play.await_end("b")
    play.await_start("slow", 2)
    assert "its runtime was over" in run.text
    assert 14 < time.monotonic() - began < 25
    play.finish(run)
    play.ran_once("a", "b")
    play.ran_once("slow", attempts=2)


def test_a_guardian_that_is_killed_costs_nothing(lab, scene):
    """Its agent stays until its jobs have ended, without the connection. The next agent serves the node."""
    play = scene("a b")
    run = play.start("2/host1")
    play.await_start("a")
    play.await_start("b")
    play.kill("host1", play.guardians("host1"))
    run.until("node host1 is back")
    play.finish(run)
    play.ran_once("a", "b")


def test_a_job_whose_agent_and_guardian_are_killed_runs_again(lab, scene):
    """The job's end cannot be known, so the next agent ends it at once, and no retry is used up."""
    play = scene("a")
    run = play.start("1/host1 1/host2")
    host = play.await_start("a")
    play.kill(host, play.guardians(host) + play.agents(host))
    play.await_start("a", 2)
    play.finish(run)
    play.ran_once(attempts=2)


def test_a_job_that_takes_its_machines_down_fails_alone(lab, scene):
    """Each host on which the job starts loses power. After the third time, it is given up. All other jobs succeed."""
    others = [f"j{number}" for number in range(8)]
    play = scene(" ".join(["killer", *others]))
    play.go(*others)
    run = play.start("2/host1 2/host2 2/host3", "--keep-going")
    cut: list[str] = []
    for number in (1, 2, 3):
        cut.append(play.await_start("killer", number, 45))
        lab.fault(cut[-1], "reboot")
    run.wait()
    run.expect(1)
    assert "it was lost 3 times, the last time because the node was rebooted" in run.text
    play.nothing_left()
    assert len(set(play.starts("killer"))) == len(play.starts("killer")) == 3
    for job in others:
        play.ran_once(job, attempts=len(play.starts(job)), cut=cut)
