"""The host list of the command line replaces that of the profile. What comes from the same place is one list."""

import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.config.precedence import use_typed_hosts
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings

PROFILE = ["snakemake", "--profile", "pool"]


@pytest.mark.parametrize(
    ("typed", "hosts", "hostfile", "line"),
    [
        ([], ["ada"], Path("/hosts"), None),
        (["--harbor-hosts", "ada"], ["ada"], None, "--harbor-hosts of the command line replaces harbor-hostfile of"),
        (["--harbor-hosts=ada"], ["ada"], None, "the profile (/hosts)"),
        (["--harbor-hostfile", "/hosts"], [], Path("/hosts"), "replaces harbor-hosts of the profile (ada)"),
        (["--harbor-hostf=/hosts"], [], Path("/hosts"), "replaces harbor-hosts of the profile (ada)"),
        (["--harbor-hosts", "ada", "--harbor-hostfile", "/hosts"], ["ada"], Path("/hosts"), None),
    ],
)
def test_what_is_typed_replaces_what_the_profile_says(monkeypatch, typed, hosts, hostfile, line):
    monkeypatch.setattr(sys, "argv", [*PROFILE, *typed])
    settings, lines = ExecutorSettings(hosts=["ada"], hostfile=Path("/hosts")), []
    use_typed_hosts(settings, lines.append)
    assert (settings.hosts, settings.hostfile) == (hosts, hostfile)
    assert line in lines[0] if line else not lines
