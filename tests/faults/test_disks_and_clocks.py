"""Disks that are full, memory that is used up, and clocks that are wrong."""

import json
import re
from pathlib import Path

from tests.faults.conftest import RULES
from tests.sshd import wait_until

FLOOD = """
    rule all:
        input: "out/flood", "out/pinned"

    rule flood:
        output: "out/flood"
        retries: 1
        shell:
            'echo "start $HARBOR_NODE_NAME $HARBOR_ATTEMPT" >> told/flood; '
            'if [ "$HARBOR_ATTEMPT" = 1 ]; then while printf "%01000d\\n" 7; do sleep 0.01; done; exit 3; fi; '
            'sh work flood {output}'

    rule pinned:
        output: "out/pinned"
        input: "out/flood"
        resources: node="host1"
        shell: "sh work pinned {output}"
"""


def waits_for(play, reason):
    """Until a job waits for `reason`, by `harbor status`."""

    def said():
        shown = json.loads(play.work.harbor("status", "--json").stdout or "{}")
        return any(job["state"] == "queued" and reason in job["reason"] for job in shown.get("jobs", []))

    wait_until(said, 30, f"a job that waits: {reason}")


def test_a_disk_that_fills_up_under_a_job_is_named_and_avoided(lab, scene):
    play = scene(
        "flood pinned", FLOOD.replace('output: "out/flood"\n        retries', 'output: "out/flood"\n        retries')
    )
    run = play.start("1/host1 1/host2")
    host = play.await_start("flood")
    lab.fault(host, "disk-full")
    play.await_start("flood", 2, 45)
    assert "the disk of the node's scratch directory is full" in run.text
    log = Path(re.search(r"all of its output: (\S+)", run.text)[1])
    assert (play.directory / log).stat().st_size > 1000 and (play.directory / log).read_text().startswith(
        "0" * 999 + "7\n"
    )
    assert play.starts("flood")[1] != host
    play.go("flood")
    waits_for(play, "MiB of scratch free")
    assert play.starts("pinned") == []
    lab.fault(host, "disk-free")
    assert play.await_start("pinned") == host
    play.finish(run)
    play.ran_once("pinned")
    assert [line.what for line in play.told("flood")].count("end") == 1


def test_a_disk_that_is_full_from_the_start_is_avoided_until_there_is_room(lab, scene):
    play = scene(
        "a pinned",
        RULES.replace(
            "        shell", "        resources: node=lambda w: 'host1' if w.job == 'pinned' else ''\n        shell"
        ),
    )
    lab.fault("host1", "disk-full")
    run = play.start("1/host1 1/host2")
    assert play.await_start("a") == "host2"
    waits_for(play, "MiB of scratch free")
    lab.fault("host1", "disk-free")
    assert play.await_start("pinned") == "host1"
    play.finish(run)
    play.ran_once()
