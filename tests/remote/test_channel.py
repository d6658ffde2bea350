"""Channels of all three transports behave alike while the command runs and after it has ended."""

import os
import threading
import time
from pathlib import Path

import pytest

from tests.remote.conftest import Channel, Open, everything
from tests.sshd import wait_until

MEGABYTES = 5 * 1024 * 1024


def read_until(channel: Channel, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        more = channel.read()
        assert more, f"the channel ended after {data[-200:]!r}"
        data += more
    return data


def test_echo_goes_both_ways(opened: Open) -> None:
    channel = opened("exec cat")
    channel.write(b"one\n")
    assert read_until(channel, b"\n") == b"one\n"
    channel.write(b"two\n")
    assert read_until(channel, b"\n") == b"two\n"


def test_bytes_are_not_touched(opened: Open) -> None:
    channel = opened("exec cat")
    data = bytes(range(256)) * 4
    channel.write(data)
    received = b""
    while len(received) < len(data):
        received += channel.read()
    assert received == data


def test_five_megabytes_both_ways_at_once(opened: Open) -> None:
    data = os.urandom(MEGABYTES)
    channel = opened("exec cat")
    writer = threading.Thread(target=channel.write, args=(data,))
    writer.start()
    received = bytearray()
    while len(received) < len(data):
        more = channel.read()
        assert 0 < len(more) <= 65536
        received += more
    writer.join()
    assert bytes(received) == data


def test_a_chatty_stderr_neither_blocks_nor_grows(opened: Open) -> None:
    """The command writes more than the 2 MiB window of an SSH channel to stderr, and nothing to stdout."""
    channel = opened("head -c 5000000 /dev/zero | tr '\\0' e >&2; echo the end >&2; echo done")
    assert everything(channel) == b"done\n"
    text = channel.stderr()
    assert text.endswith("the end\n")
    assert 8000 < len(text) <= 8192


def test_stderr_is_kept_apart_and_decoded(opened: Open) -> None:
    channel = opened(r"printf 'gr\303\274n \377\n' >&2; echo out")
    assert everything(channel) == b"out\n"
    assert channel.stderr() == "grün �\n"


@pytest.mark.parametrize("status", [0, 3])
def test_exit_status_after_the_end(opened: Open, status: int) -> None:
    channel = opened(f"echo x; exit {status}")
    assert everything(channel) == b"x\n"
    assert channel.exit_status() == status
    assert channel.read() == b""


def test_no_exit_status_while_it_runs_nor_after_a_signal(opened: Open) -> None:
    channel = opened("echo up; read line; kill -9 $$")
    assert read_until(channel, b"\n") == b"up\n"
    assert channel.exit_status() is None
    channel.write(b"go\n")
    assert everything(channel) == b""
    assert channel.exit_status() is None


def test_login_noise_comes_first(opened: Open) -> None:
    channel = opened("echo 'Welcome to the lab!'; echo motd >&2; exec cat")
    channel.write(b"hello\n")
    assert read_until(channel, b"hello\n") == b"Welcome to the lab!\nhello\n"


def test_close_wakes_a_blocked_read(opened: Open) -> None:
    channel = opened("exec sleep 60")
    result: list[bytes] = []
    reader = threading.Thread(target=lambda: result.append(channel.read()))
    reader.start()
    begun = time.monotonic()
    channel.close()
    reader.join(5)
    assert result == [b""]
    assert time.monotonic() - begun < 2
    assert channel.read() == b""
    channel.close()


def test_close_wakes_a_blocked_write(opened: Open) -> None:
    channel = opened("echo up; exec sleep 60")
    read_until(channel, b"\n")
    errors: list[OSError] = []
    progress = [0]

    def write() -> None:
        try:
            while True:
                channel.write(bytes(100_000))
                progress[0] += 1
        except OSError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    still = [-1, 0.0]

    def stuck() -> bool:
        if progress[0] != still[0]:
            still[:] = [progress[0], time.monotonic()]
        return time.monotonic() - still[1] > 0.3

    wait_until(stuck, 10, "a writer that waits")
    begun = time.monotonic()
    channel.close()
    writer.join(5)
    assert not writer.is_alive()
    assert time.monotonic() - begun < 2
    assert len(errors) == 1


def test_close_ends_the_command_s_input(opened: Open, tmp_path: Path) -> None:
    mark = tmp_path / "ended"
    channel = opened(f"echo up; cat > /dev/null; echo > {mark}")
    read_until(channel, b"\n")
    channel.close()
    wait_until(mark.exists, 10, "the end of the command's input")


def test_writing_to_a_command_that_ended(opened: Open) -> None:
    channel = opened("exit 0")
    assert everything(channel) == b""
    with pytest.raises(OSError):
        for _ in range(100):
            channel.write(bytes(65536))


def test_the_command_passes_the_login_shell_whole(opened: Open) -> None:
    channel = opened("""exec sh -c 'printf "%s|" "$@"; exec cat' arg0 "two words" '$HOME' "it's" """)
    channel.write(b"x\n")
    assert read_until(channel, b"x\n").decode() == "two words|$HOME|it's|x\n"
