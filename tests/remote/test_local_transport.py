"""The local transport runs commands on this machine."""

import os
import signal
from collections.abc import Iterator

import pytest

from snakemake_executor_plugin_harbor.remote import process_channel
from tests.remote.conftest import Client, Target, everything
from tests.sshd import wait_until

HERE = Target("localhost", "localhost", None, None, local=True)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(process_channel, "END_GRACE_S", 0.2)
    made = Client("paramiko")
    yield made
    made.close()


def test_it_leads_a_session_of_its_own(local: Client) -> None:
    """Ctrl-C in the terminal goes to the foreground process group, and the agent must not be in it."""
    session = int(local.says(None, HERE, "ps -o sid= -p $$"))
    assert session != os.getsid(0)


def test_credentials_stay_here(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAKEMAKE_HARBOR_PASSWORD", "s3cret")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_PASSWORD", "s3cret")
    monkeypatch.setenv("HARBOR_TEST_KEPT", "kept")
    said = local.says(None, HERE, "env")
    assert "HARBOR_TEST_KEPT=kept" in said
    assert "s3cret" not in said


def test_a_command_that_ignores_the_end_of_its_input_is_ended(local: Client) -> None:
    channel = local.open(None, HERE, "echo $$; exec sleep 600")
    pid = int(channel.read())
    channel.close()
    wait_until(lambda: not alive(pid), 15, "the end of the command")


def test_what_it_started_in_sessions_of_their_own_lives_on(local: Client) -> None:
    channel = local.open(None, HERE, "setsid sh -c 'echo $$; exec sleep 600' & wait")
    pid = int(channel.read())
    try:
        local.close()
        wait_until(lambda: not channel.runs(), 15, "the end of the command")  # type: ignore[attr-defined]
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_everything(local: Client) -> None:
    assert everything(local.open(None, HERE, "echo $0")) == b"/bin/sh\n"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
