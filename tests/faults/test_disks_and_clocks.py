"""Disks that are full, memory that is used up, and clocks that are wrong."""

import json
import re
import time
import uuid
from pathlib import Path

import pytest

from tests.faults.conftest import RULES
from tests.sshd import wait_until

FLOOD = """
    rule all:
        input: expand("out/{job}", job=JOBS)

    rule flood:
        output: "out/flood"
        retries: 1
        shell:
            'if [ $HARBOR_ATTEMPT = 1 ]; then printf "%01000d\\n" 7; echo "start $HARBOR_NODE_NAME 1" >> told/flood; '
            'while printf "%01000d\\n" 7; do sleep 0.01; done; exit 3; fi; sh work flood {output}'

    rule pinned:
        output: "out/{host,host.}"
        input: "out/flood"
        resources: node=lambda wildcards: wildcards.host
        shell: "sh work {wildcards.host} {output}"
"""
PINNED = RULES.replace(
    "    shell", "    resources: node=lambda wildcards: 'host1' if wildcards.job == 'pinned' else ''\n        shell"
)


def status(play):
    return json.loads(play.work.harbor("status", "--json").stdout)


def waits_for(play, reason):
    """Wait until `harbor status` shows that a job waits for `reason`."""

    def said():
        return any(job["state"] == "queued" and reason in job["reason"] for job in status(play)["jobs"])

    wait_until(said, 30, f"a job that waits: {reason}")


def test_a_disk_that_fills_up_under_a_job_is_named_and_avoided(lab, scene):
    """The job fails with that reason, its output so far is kept, and its retry runs on the other host. The full host
    gets jobs again when it has room.
    """
    play = scene("flood host1 host2", FLOOD)
    run = play.start("1/host1 1/host2")
    full = play.await_start("flood")
    lab.fault(full, "disk-full")
    roomy = play.await_start("flood", 2)
    assert roomy != full
    assert f"attempt 1 on {full}: the disk of the node's scratch directory is full" in run.text
    log = Path(re.search(r"all of its output: (\S+)", run.text)[1])
    assert log.read_text().startswith("0" * 999 + "7\n")
    play.go("flood", roomy)
    play.await_end(roomy)
    waits_for(play, "MiB of scratch free")
    assert play.starts(full) == []
    lab.fault(full, "disk-free")
    play.finish(run)
    play.ran_once("flood", attempts=2)
    play.ran_once("host1", "host2")


def test_a_disk_that_is_full_from_the_start_is_avoided_until_there_is_room(lab, scene):
    play = scene("a pinned", PINNED)
    lab.fault("host1", "disk-full")
    run = play.start("1/host1 1/host2")
    assert play.await_start("a") == "host2"
    waits_for(play, "MiB of scratch free")
    assert play.starts("pinned") == []
    lab.fault("host1", "disk-free")
    play.finish(run)
    play.ran_once()
    assert play.starts("pinned") == ["host1"]


MEMORY = """
    rule all:
        input: expand("out/{job}", job=JOBS)

    rule one:
        output: "out/{job}"
        retries: 1
        resources: group_mb=lambda wildcards, attempt: 64 * attempt
        shell: "sh work {wildcards.job} {output}; python3 hungry {resources.group_mb}"
"""
HUNGRY = """
import os, sys
from pathlib import Path
group = Path("%s", os.environ["HARBOR_ATTEMPT"])
group.mkdir()
(group / "memory.limit_in_bytes").write_text(sys.argv[1] + "M")
(group / "cgroup.procs").write_text(str(os.getpid()))
data = bytearray(b"x") * (90 << 20)
"""


@pytest.fixture
def group():
    """Make a control group of version 1 in which a job may limit its own memory."""
    path = Path("/sys/fs/cgroup/memory") / f"harbor-lab-{uuid.uuid4().hex[:6]}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups of version 1 for memory: {error}")
    yield path
    for inner in [*path.glob("*/"), path]:
        inner.rmdir()


def test_a_job_that_runs_out_of_memory_is_told_so_and_retried_with_more(lab, scene, group):
    """The kernel kills the job. This is the job's own failure and not that of its node, so it uses up a retry."""
    play = scene("a", MEMORY)
    (play.directory / "hungry").write_text(HUNGRY % group)
    play.go()
    run = play.start("1/host1 1/host2")
    play.finish(run)
    assert run.text.count("the node ran out of memory") == 1 and run.text.count("Trying to restart job") == 1
    assert [line[0::2] for line in play.told("a")].count(("end", 2)) == 1


SKEWED = """
import time
real = time.time
time.time = lambda: real() + int({seconds})
"""


def test_clocks_that_are_an_hour_off_confuse_nobody(lab, scene):
    """One host is an hour ahead, one an hour behind. Durations, time left and benchmarks are right all the same."""
    timed = RULES.replace("    shell", "    benchmark: 'bench/{job}'\n        shell")
    play = scene("a b c d e", timed)
    hosts = {}
    for host, seconds in (("host1", 3600), ("host2", -3600)):
        skew = play.directory / host
        skew.mkdir()
        (skew / "sitecustomize.py").write_text(SKEWED.format(seconds=seconds))
        hosts[host] = {"slots": 2, "setup": f"export PYTHONPATH={skew}"}
    (play.directory / "hosts.yaml").write_text(json.dumps(hosts))
    began = time.time()
    run = play.start("1/host3", "--harbor-hostfile", "hosts.yaml")
    assert {play.await_start(job) for job in play.jobs} == {"host1", "host2", "host3"}
    play.go("a", "b", "c", "d")
    wait_until(lambda: status(play)["counts"].get("succeeded") == 4, 20, "four ends")
    assert 0 <= status(play)["eta_s"] < 300
    play.finish(run)
    play.ran_once()
    for job in status(play)["jobs"]:
        assert began <= job["submitted"] <= job["started"] <= job["ended"] <= time.time()
    for path in play.directory.glob("bench/*"):
        seconds = float(path.read_text().splitlines()[1].split()[0])
        assert 0 < seconds < time.time() - began, path
