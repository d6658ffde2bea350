"""Each option reaches its part of harbor, and a value that makes no sense is an error with the option's name."""

from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.config.pool_config import pool_config
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings
from snakemake_executor_plugin_harbor.errors import HarborError


def test_options_reach_the_pool():
    config = pool_config(
        ExecutorSettings(
            hosts=["8/ada", "bob", "eve"],
            ssh_config=Path("/etc/ours"),
            transport="openssh",
            dispatch="direct",
            staging="never",
            scratch="/local/tmp",
            max_load=0.5,
            min_free_mem_mb=7,
            nice=3,
            lost_after=11,
            fence_wait=12,
            stall_after=13,
            on_stall="kill",
            nnodes=2,
            ntasks_per_node=4,
            log_dir=Path("logs"),
        )
    )
    assert [node.name for node in config.nodes] == ["ada", "bob"] and config.nodes[0].slots == 8
    assert (config.policy.max_load, config.policy.min_free_mem_mb, config.policy.ntasks_per_node) == (0.5, 7, 4)
    timeouts = config.timeouts
    assert (timeouts.lost_after, timeouts.fence_wait, timeouts.stall_after, timeouts.kill_stalled) == (11, 12, 13, True)
    assert (config.ssh_config, config.transport, config.dispatch) == (Path("/etc/ours"), "openssh", "direct")
    assert (config.staging, config.scratch, config.nice, config.log_dir) == ("never", "/local/tmp", 3, Path("logs"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_load", 0.0),
        ("max_load", float("nan")),
        ("min_free_mem_mb", -1),
        ("nice", 20),
        ("lost_after", 0),
        ("fence_wait", -1),
        ("stall_after", 1),
        ("nnodes", 0),
        ("ntasks_per_node", 0),
        ("scratch", "relative"),
    ],
)
def test_what_makes_no_sense_names_its_option(option, value):
    name = "--harbor-" + option.replace("_", "-")
    with pytest.raises(HarborError, match=f"{name}: ") as caught:
        pool_config(ExecutorSettings(**{"hosts": ["ada", "bob"], option: value}))
    assert f"Try: {name} " in str(caught.value)
