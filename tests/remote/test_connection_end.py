"""A node is rejected for a permanent failure only if the failing step never worked in this run."""

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.remote.connection_end import (
    HOST_KEY_PAUSE_S,
    LOGIN_PAUSE_S,
    REASON_MAX,
    REPAIR_PAUSE_S,
    ConnectionEnd,
    WorkedBefore,
)

NOTHING, LOGIN, ALL = WorkedBefore(), WorkedBefore(login=True), WorkedBefore(login=True, agent=True)


def down(permanent: bool = False, pause: float | None = None) -> ev.NodeDown:
    return ev.NodeDown("ada", "why", permanent, pause)


@pytest.mark.parametrize(
    ("kind", "permanent", "worked", "wanted"),
    [
        ("timeout", False, NOTHING, down()),
        ("agent", False, NOTHING, down()),
        ("auth", True, NOTHING, down(permanent=True)),
        ("auth", True, LOGIN, down(pause=LOGIN_PAUSE_S)),
        ("name", True, NOTHING, down(True, REPAIR_PAUSE_S)),
        ("name", True, LOGIN, down()),
        ("host_key_changed", True, NOTHING, down(True, HOST_KEY_PAUSE_S)),
        ("host_key_changed", True, LOGIN, down()),
        ("agent", True, NOTHING, down(True, REPAIR_PAUSE_S)),
        ("agent", True, LOGIN, down(True, REPAIR_PAUSE_S)),
        ("agent", True, ALL, down()),
    ],
)
def test_which_end_rejects_a_node(kind, permanent, worked, wanted):
    assert ConnectionEnd("why", permanent, kind).node_down("ada", worked) == wanted


def test_a_reason_is_never_empty_nor_long():
    assert ConnectionEnd("").node_down("ada", NOTHING).reason == "the connection was closed"
    assert len(ConnectionEnd("x" * 10_000).node_down("ada", NOTHING).reason) <= REASON_MAX
