"""A run that starts while its machines still boot waits for them, says so, and uses them within seconds."""

import re
import time
from pathlib import Path

import pytest

from tests.snakemake.harness import on, setting
from tests.sshd import Pool, public_key, wait_until

SNAKEFILE = 'rule all:\n    output: "x"\n    shell: "touch {output}"\n'
WAITING = r"no node can be used yet. Waiting up to \d+ s more for "


@pytest.fixture
def booting(tmp_path: Path):
    """Return node1 and node2 without their servers."""
    made = Pool(tmp_path / "pool")
    for name in ("node1", "node2"):
        made.add(name).stop()
    yield made
    made.close()


def test_the_pool_comes_up_while_the_run_waits(project, booting):
    work = project(SNAKEFILE)
    run = work.start(*on(booting, "node1", "node2"))
    run.until(WAITING + r"node1, node2 \(.*refuses connections|" + WAITING + "node1 .*refuses connections.*; node2")
    assert run.code is None
    booting["node2"].start()
    begun = time.monotonic()
    run.until(r"1 of 2 nodes ready, \d+ slots: node2", 20)
    took = time.monotonic() - begun
    run.wait()
    run.expect(0)
    assert took < 15, took
    assert (work.directory / "x").exists() and len(re.findall(WAITING, run.text)) <= 2


def test_one_that_cannot_come_up_does_not_end_the_wait_for_one_that_can(project, booting):
    work = project(SNAKEFILE)
    run = work.start(*on(booting, "no-such-host.invalid", "node1"))
    run.until(WAITING + "node1 ")
    booting["node1"].start()
    run.wait()
    run.expect(0)
    assert "no-such-host" not in re.search(WAITING + ".*", run.text)[0]


def test_reasons_that_change_are_told_again(project, booting):
    work = project(SNAKEFILE)
    booting.authorized.write_text("")
    run = work.start(*on(booting, "node1", "node2"))
    run.until(WAITING + "node1")
    booting["node1"].start()
    run.until(WAITING + r"node2 \(")
    booting["node2"].start()
    run.wait()
    run.expect(1)
    assert "no node of the pool can be used" in run.text and run.text.count("ssh-copy-id") >= 2
    assert sum(booting[name].log().count("Failed publickey") for name in booting.names) == 2, "one refused login each"


def test_a_host_key_that_is_repaired_brings_the_node_back_by_itself(project, booting):
    """The user adds the key in another terminal and types nothing else."""
    work = project(SNAKEFILE.replace("touch {output}", "until [ -e go ]; do sleep 0.1; done; touch {output}"))
    for name in booting.names:
        booting[name].start()
    lines = "".join(booting["node2"].known_hosts_lines())
    booting.known_hosts.write_text("".join(booting["node1"].known_hosts_lines()))
    run = work.start(*on(booting, "node1", "node2"), before=setting("remote.connection_end.HOST_KEY_PAUSE_S", 3.0))
    run.until("node node2 is not used .rejected.: .*ssh-keyscan|node node2 is not used .rejected.")
    booting.known_hosts.write_text(booting.known_hosts.read_text() + lines)
    run.until("node node2 is back", 50)
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)


def test_stop_and_so_ctrl_c_ends_it_while_it_waits_without_a_traceback(project, booting):
    work = project(SNAKEFILE)
    run = work.start(*on(booting, "node1"))
    run.until(WAITING)
    assert work.harbor("stop").returncode == 0  # sends the signal of Ctrl-C
    run.wait(15)
    run.expect(1)
    assert "interrupted while no node was ready" in run.text and "Traceback" not in run.text
    assert not work.files(".snakemake/harbor/lock")


LONG = """
    rule all:
        output: "x"
        shell: "touch begun; until [ -e go ]; do sleep 0.1; done; touch {output}"
"""


def test_a_login_that_worked_and_is_refused_is_tried_once_a_minute_and_not_rejected(project, booting):
    work = project(LONG)
    server = booting["node1"]
    server.start()
    run = work.start(*on(booting, "node1"))
    wait_until((work.directory / "begun").exists, 30)
    booting.authorized.write_text("")
    server.drop()
    run.until(r"node node1 is not used \(backoff\): .*was refused", 15)
    time.sleep(5)  # a second attempt would have happened by now, because the pauses begin with one second
    assert server.log().count("Failed publickey") == 1
    booting.authorized.write_text(public_key(booting.key) + "\n")
    assert work.harbor("resume", "node1").returncode == 0
    run.until("node node1 is back", 15)
    (work.directory / "go").touch()
    run.wait()
    run.expect(0)
    assert "rejected" not in run.text


def test_a_run_that_waits_for_its_first_node_cannot_be_detached(project, booting):
    work = project(SNAKEFILE)
    run = work.start(*on(booting, "node1"))
    run.until(WAITING)
    refused = work.harbor("detach")
    assert refused.returncode == 1 and "no job has been started" in refused.stderr, refused
    booting["node1"].start()
    run.wait()
    run.expect(0)
