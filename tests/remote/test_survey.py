"""A survey returns an answer for each node, whether the node answers, fails or says nothing."""

import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.remote import survey as module
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.survey import survey
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target, Transport
from tests.sshd import Pool, free_port

HERE = NodeSpec("localhost", "localhost", local=True)


def transport(spec: NodeSpec) -> Transport:
    target = Target(spec.name, spec.host, spec.user, spec.port, spec.local)
    return make_transport(target, "paramiko", SshSettings(None, None, 5))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_node_that_answers_and_one_that_refuses(tmp_path: Path) -> None:
    refuses = NodeSpec("ada", "127.0.0.1", port=free_port())
    local, ada = survey([HERE, refuses], transport, str(tmp_path / "scratch"))
    assert (local.spec, ada.spec) == (HERE, refuses)
    assert local.facts is not None and local.facts.shared and local.load is not None and not local.reason
    assert local.took is not None and abs(local.skew or 0) < 60
    assert ada.facts is None and "refuses connections" in ada.reason
    assert not list(tmp_path.glob(".harbor-probe-*"))


def test_a_node_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 1.0)
    silent = NodeSpec("localhost", "localhost", local=True, setup="sleep 30")
    begun = time.monotonic()
    (answer,) = survey([silent], transport, str(tmp_path / "scratch"))
    assert answer.facts is None and answer.reason.startswith("no answer within 1 s, although the login worked")
    assert answer.reason.endswith("\n  Try: df")
    assert time.monotonic() - begun < 20


def test_a_node_that_hangs_after_the_login_delays_the_others_only_until_the_limit(
    own_pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 3.0)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    own_pool.add("hangs", ["ForceCommand sleep 60"])
    own_pool.add("node1")

    def by_ssh(spec: NodeSpec) -> Transport:
        return make_transport(
            Target(spec.name, spec.name, None, None, False), "paramiko", SshSettings(own_pool.ssh_config, None, 5)
        )

    begun = time.monotonic()
    nodes = [NodeSpec(name, name) for name in own_pool.names]
    hangs, node1 = survey(nodes, by_ssh, str(tmp_path / "scratch"))
    assert hangs.reason.startswith("no answer within 3 s, although the login worked")
    assert hangs.reason.endswith(f"Try: ssh -F {own_pool.ssh_config} hangs df")
    assert node1.facts is not None and not node1.reason
    assert time.monotonic() - begun < 20
