"""Forty hosts are off, hang or drop packets. The other hosts do not wait for them, at the start or later."""

import json
import time
from pathlib import Path

import pytest

from tests.dead import dead_hosts
from tests.sshd import Pool, wait_until

COUNT = 40
SNAKEFILE = """
    rule all:
        output: "done"
        shell: "touch begun; until [ -e go ]; do sleep 0.1; done; touch {output}"
"""


@pytest.fixture
def own_pool(tmp_path: Path):
    made = Pool(tmp_path / "pool")
    made.add("node1")
    yield made
    made.close()


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
def test_a_healthy_node_is_back_within_seconds(project, own_pool, transport):
    work = project(SNAKEFILE)
    with dead_hosts(COUNT, own_pool.ssh_config, own_pool.known_hosts) as dead:
        (work.directory / "hosts").write_text("\n".join([*dead, "1/node1"]) + "\n")
        options = ["--executor", "harbor", "--jobs", "9", "--harbor-ssh-config", str(own_pool.ssh_config)]
        options += ["--harbor-hostfile", "hosts", "--harbor-transport", transport, "--harbor-max-load", "50"]
        run = work.start(*options)
        wait_until((work.directory / "begun").exists, 30, "the job")
        begun = time.monotonic()
        own_pool["node1"].drop()
        run.until("node node1 is not used", 10)
        run.until("node node1 is back", 15)
        took = time.monotonic() - begun
        (work.directory / "go").touch()
        run.wait()
        run.expect(0)
    assert took < 10, took


def test_nodes_and_doctor_show_the_healthy_ones_beside_the_dead(project, own_pool):
    work = project(SNAKEFILE)
    with dead_hosts(COUNT, own_pool.ssh_config, own_pool.known_hosts) as dead:
        begun = time.monotonic()
        told = work.harbor(
            *("nodes", "--json", "--ssh-config", str(own_pool.ssh_config), "--hosts", *dead, "node1", "localhost")
        )
        took = time.monotonic() - begun
    nodes = {node["name"]: node for node in json.loads(told.stdout)["nodes"]}
    assert nodes["node1"]["state"] == nodes["localhost"]["state"] == "ready"
    reasons = {nodes[name]["reason"].splitlines()[0] for name in dead}
    assert len(nodes) == COUNT + 2 and not any("no answer within 3" in reason for reason in reasons), reasons
    assert took < 30
