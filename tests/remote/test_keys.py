"""Keys are offered in the order of the ssh program, and files that need a passphrase are known as such."""

from dataclasses import replace
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.remote.ssh.host_options import HostOptions, host_options
from snakemake_executor_plugin_harbor.remote.ssh.keys import AgentKeys, candidates, locked_files
from snakemake_executor_plugin_harbor.remote.transport import SshSettings
from tests.remote.conftest import target
from tests.remote.test_login import ssh_agent
from tests.sshd import keygen


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> HostOptions:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return host_options(target("ada"), SshSettings(None, None), {"identityagent": ["none"]})


def labels(options: HostOptions) -> list[str]:
    agent = AgentKeys(options.agent_socket)
    found = [label for _, label in candidates(options, agent.keys, [])]
    agent.close()
    return found


def test_keys_of_files_come_in_their_order(options: HostOptions, tmp_path: Path) -> None:
    first, second = keygen(tmp_path / "b"), keygen(tmp_path / "a", "ecdsa")
    missing, broken = tmp_path / "missing", tmp_path / "broken"
    broken.write_text("this is no key")
    assert labels(replace(options, identity_files=(first, missing, broken, second))) == [str(first), str(second)]


def test_keys_of_the_agent_come_first(options: HostOptions, tmp_path: Path) -> None:
    named, other, only_file = (keygen(tmp_path / name) for name in ("named", "other", "file"))
    with ssh_agent((other, ""), (named, "")) as socket:
        options = replace(options, identity_files=(only_file, named), agent_socket=socket)
        assert labels(options) == [f"{named} (in ssh-agent)", "a ssh-ed25519 key of ssh-agent", str(only_file)]
        assert labels(replace(options, identities_only=True)) == [f"{named} (in ssh-agent)", str(only_file)]


def test_a_locked_file_is_reported_unless_the_agent_has_its_key(options: HostOptions, tmp_path: Path) -> None:
    locked = keygen(tmp_path / "locked", passphrase="open sesame")
    options = replace(options, identity_files=(locked,))
    assert labels(options) == [] and locked_files(options) == [locked]
    with ssh_agent((locked, "open sesame")) as socket:
        options = replace(options, agent_socket=socket)
        assert labels(options) == [f"{locked} (in ssh-agent)"] and locked_files(options) == []


def test_an_agent_that_does_not_answer_has_no_keys(tmp_path: Path) -> None:
    assert AgentKeys(str(tmp_path / "nothing")).keys == []
