"""Messages to a node are written in order, and before the end of the connection."""

import time
from collections.abc import Iterator

import pytest

from snakemake_executor_plugin_harbor.core.codec import Decoder
from snakemake_executor_plugin_harbor.remote.message_writer import BATCH_MAX, MessageWriter
from snakemake_executor_plugin_harbor.remote.process_channel import ProcessChannel, clean_environment
from tests.sshd import wait_until


@pytest.fixture
def channels() -> Iterator[list[ProcessChannel]]:
    made: list[ProcessChannel] = []
    yield made
    for channel in made:
        channel.close()


def test_messages_are_written_in_order_and_before_the_end(channels: list[ProcessChannel]) -> None:
    channel = ProcessChannel(["/bin/cat"], clean_environment())
    channels.append(channel)
    writer = MessageWriter(channel, "ada")
    for number in range(3 * BATCH_MAX):
        writer.put([{"t": "x", "n": number}])
    writer.finish()
    writer.put([{"t": "too late"}])
    decoder, numbers = Decoder(), []
    while len(numbers) < 3 * BATCH_MAX:
        numbers += [message["n"] for message in decoder.feed(channel.read())]
    writer.join(5)
    assert numbers == list(range(3 * BATCH_MAX)) and writer.unwritten == 0


def test_a_write_error_closes_the_channel(channels: list[ProcessChannel]) -> None:
    channel = ProcessChannel(["/bin/true"], clean_environment())
    channels.append(channel)
    wait_until(lambda: not channel.runs(), 10, "the end of the command")
    writer = MessageWriter(channel, "ada")
    deadline = time.monotonic() + 10
    while not channel.ended() and time.monotonic() < deadline:
        writer.put([{"t": "x", "text": "y" * 10_000}])
    assert channel.ended()
