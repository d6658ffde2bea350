"""The limit of open files of our process is raised, but a job on localhost keeps the user's limit."""

import json
import resource
import subprocess
import sys

import pytest

ASK = """
import json, resource
from snakemake_executor_plugin_harbor.remote.open_files import raise_open_file_limit
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target
warning = raise_open_file_limit({nodes}, "openssh")
again = raise_open_file_limit({nodes}, "openssh")
local = make_transport(Target("localhost", "localhost", None, None, True), "paramiko", SshSettings(None, None))
child = b"".join(iter(local.open("ulimit -Sn; ulimit -Hn").read, b"")).split()
print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), [int(n) for n in child], warning, again == warning]))
"""


def ask(nodes: int, soft: int, hard: int):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    code = [sys.executable, "-c", ASK.format(nodes=nodes)]
    return json.loads(subprocess.run(code, preexec_fn=limit, capture_output=True, check=True, timeout=60).stdout)


@pytest.fixture
def hard() -> int:
    """Return the highest limit that this process may give to a child."""
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)


def test_the_limit_goes_up_and_jobs_keep_theirs(hard):
    assert ask(10, 300, hard) == [[hard, hard], [300, hard], None, True]


def test_a_limit_that_is_too_low_for_the_pool_is_a_warning(hard):
    limits, child, warning, same = ask(10_000, 300, hard)
    assert limits == [hard, hard] and child == [300, hard] and same
    assert f"may open {hard} files" in warning and "10000 nodes" in warning and "ulimit -n" in warning
