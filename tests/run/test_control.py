"""The control socket: its two ends with each other, and with clients that misbehave."""

import socket
import stat

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.run.control import Control
from snakemake_executor_plugin_harbor.store.control_socket import NAME, ask


def handle(request):
    match request.get("op"):
        case "refuse":
            raise HarborError("no node of that name.", "harbor status")
        case "fail":
            raise KeyError("a bug")
    return {"echo": request}


@pytest.fixture
def control(tmp_path):
    control = Control(tmp_path, handle)
    yield control
    control.close()


def test_a_request_is_answered(control, tmp_path):
    assert ask(tmp_path, {"op": "read", "job": "run/1"}) == {"echo": {"op": "read", "job": "run/1"}}
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_what_the_controller_refuses_is_the_error_of_the_command(control, tmp_path):
    with pytest.raises(HarborError, match="no node of that name"):
        ask(tmp_path, {"op": "refuse"})
    with pytest.raises(HarborError, match="internal error: KeyError"):
        ask(tmp_path, {"op": "fail"})


@pytest.mark.parametrize("sent", [b"", b"nonsense\n", b"[" * 100_000 + b"\n", b"7\n"])
def test_a_client_that_misbehaves_harms_no_other(control, tmp_path, sent):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / NAME))
        client.sendall(sent)
    assert ask(tmp_path, {"op": "read"})["echo"] == {"op": "read"}


def test_without_a_controller_the_command_says_what_to_do(control, tmp_path):
    control.close()
    assert not (tmp_path / NAME).exists()
    with pytest.raises(HarborError, match="no run goes on here") as error:
        ask(tmp_path, {"op": "read"})
    assert "the same command again" in str(error.value)
