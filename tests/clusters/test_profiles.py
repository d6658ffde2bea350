"""One sweep with the shipped profiles: on this machine, on SSH nodes, and through the batch system of a real Slurm."""

import pytest

from tests.clusters.slurm import Slurm
from tests.clusters.sweep import BIN, PROFILES, TABLE, Project, check_faulty, start
from tests.snakemake.harness import LIMITS, Run
from tests.sshd import Pool


@pytest.mark.timeout(300)  # Snakemake's Slurm plugin asks 10 s later each time that no job has ended
def test_the_same_table_on_this_machine_on_ssh_nodes_and_through_slurm(
    cluster: Slurm, pool: Pool, project: Project
) -> None:
    """The tables are equal byte by byte. With each profile, a failed case is tried again and the others go on."""
    slurm = f"{cluster.bin}:{BIN}"
    pinned = ("--configfile", "config/config.yaml", "pinned.yaml")
    busy = ("--harbor-max-load", "50", *LIMITS)
    hosts = ("--harbor-hosts", "node1,node2")
    work = {name: project(name) for name in ("local", "pool", "slurm", "cluster-generic")}

    def begin(name: str, *options: str, path: str = BIN) -> Run:
        return start(work[name], PROFILES / name, *options, PATH=path)

    runs = {
        # This Slurm has no accounting database, so sacct knows nothing.
        "slurm": begin(
            "slurm",
            *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "8"),
            *pinned,
            path=slurm,
        ),
        "local": begin("local", *busy),
        "pool": begin("pool", *busy, *hosts, "--harbor-ssh-config", str(pool.ssh_config)),
        "cluster-generic": begin("cluster-generic", "--seconds-between-status-checks", "1", *pinned, path=slurm),
    }
    for name, run in runs.items():
        check_faulty(run, work[name])
        assert (work[name].directory / "results/grid/results.csv").read_text() == TABLE, name
    for name in ("slurm", "cluster-generic"):
        # `node`, `constraint` and `gpu` have reached Slurm.
        where = [line.split() for line in (work[name].directory / "where").read_text().splitlines()]
        assert {node for node, _ in where} == {"node3"}
        assert {gpu for _, gpu in where} <= {"0", "1"}
    assert cluster.run("squeue", "--noheader") == ""
