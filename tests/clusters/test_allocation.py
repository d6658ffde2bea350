"""`--harbor-hosts slurm` inside real allocations of a real Slurm."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.clusters.slurm import Slurm
from tests.snakemake.harness import LIMITS
from tests.sshd import SSHD, Pool, keygen, public_key

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(COUNT))
rule one:
    output: "out/{i}"
    shell: "echo $HARBOR_NODE_NAME $HARBOR_LOCAL_ID > {output}"
"""
SHOW = """
import json
from snakemake_executor_plugin_harbor.config.hostfile import parse_hosts
print(json.dumps([[node.name, node.slots, node.mem_mb] for node in parse_hosts(["slurm"])]))
"""


def run(cluster: Slurm, directory: Path, allocation: list[str], ssh_config: Path, count: int) -> list[list[str]]:
    """Run many tiny jobs on the nodes of an allocation. Return the node and the lowest slot of each."""
    (directory / "Snakefile").write_text(SNAKEFILE.replace("COUNT", str(count)))
    snakemake = [sys.executable, "-m", "snakemake", "--executor", "harbor", "--harbor-hosts", "slurm"]
    # All nodes are this machine, which is busy with other tests.
    options = ["--harbor-ssh-config", str(ssh_config), "--harbor-max-load", "50", "--scheduler", "harbor"]
    command = ["salloc", "-Q", *allocation, *snakemake, *options, "--jobs", "1000", "--quiet", "rules", *LIMITS]
    cluster.run(*command, cwd=directory)
    return [(directory / f"out/{i}").read_text().split() for i in range(count)]


def test_hundreds_of_small_jobs_on_all_nodes(cluster: Slurm, pool: Pool, tmp_path: Path) -> None:
    """Each node gets jobs, and never more at once than the allocation has cores there."""
    places = run(cluster, tmp_path, ["-N4", "--ntasks-per-node=2"], pool.ssh_config, 200)
    per_node = Counter(node for node, _ in places)
    assert set(per_node) == set(cluster.nodes)
    assert min(per_node.values()) >= 10, per_node
    assert {slot for _, slot in places} == {"0", "1"}


@pytest.mark.parametrize(
    ("allocation", "nodes"),
    [
        (["-N4"], [[f"node{number}", 1, None] for number in range(1, 5)]),
        (["-N2", "--exclusive", "--mem=1000"], [["node1", 8, 1000], ["node2", 8, 1000]]),
        (["-n12", "--mem-per-cpu=100"], [["node1", 8, 800], ["node2", 4, 400]]),
        (["-N2", "-n3", "-c2"], [["node1", 4, None], ["node2", 2, None]]),
        (["-n1", "-c1", ":", "-N2", "-n2", "-c2"], [["node1", 1, None], ["node2", 2, None], ["node3", 2, None]]),
    ],
    ids=["nodes", "exclusive", "tasks", "cores per task", "heterogeneous"],
)
def test_slots_and_memory_are_those_of_the_allocation(cluster: Slurm, allocation: list[str], nodes: object) -> None:
    assert json.loads(cluster.run("salloc", "-Q", *allocation, sys.executable, "-c", SHOW)) == nodes


def test_without_ssh_servers_on_the_nodes(cluster: Slurm, tmp_path: Path) -> None:
    """docs/clusters.md: srun starts a server of our own on the node, for one connection each."""
    for name in ("client", "server"):
        keygen(tmp_path / name)
    (tmp_path / "authorized_keys").write_text(public_key(tmp_path / "client"))
    (tmp_path / "known_hosts").write_text(f"allocation {public_key(tmp_path / 'server')}\n")
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/server\nAuthorizedKeysFile {tmp_path}/authorized_keys\nStrictModes no\nPidFile none\n"
    )
    srun = "srun --overlap --nodes=1 --ntasks=1 --nodelist=%h --unbuffered"
    (tmp_path / "ssh_config").write_text(
        f"Host node*\n  ProxyCommand {srun} {SSHD} -i -f {tmp_path}/sshd_config\n"
        f"  IdentityFile {tmp_path}/client\n  HostKeyAlias allocation\n  UserKnownHostsFile {tmp_path}/known_hosts\n"
    )
    places = run(cluster, tmp_path, ["-N2", "--ntasks-per-node=2"], tmp_path / "ssh_config", 20)
    assert {node for node, _ in places} == {"node1", "node2"}
