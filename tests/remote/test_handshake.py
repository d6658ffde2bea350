"""The handshake skips login noise, collects the records until the agent is ready, and explains why it never is.

The other end of each channel is a real shell, which prints what an agent or something else would print.
"""

import json
import shlex
from collections.abc import Callable, Iterator

import pytest

from snakemake_executor_plugin_harbor.core.codec import Decoder, Message
from snakemake_executor_plugin_harbor.remote import handshake
from snakemake_executor_plugin_harbor.remote.handshake import AgentError, AgentReady, start_agent
from snakemake_executor_plugin_harbor.remote.process_channel import ProcessChannel, clean_environment

HELLO = {"t": "hello", "v": 1}
READY = {"t": "ready"}
Answer = Callable[..., AgentReady]


@pytest.fixture
def channels() -> Iterator[list[ProcessChannel]]:
    made: list[ProcessChannel] = []
    yield made
    for channel in made:
        channel.close()


@pytest.fixture
def answer(channels: list[ProcessChannel]) -> Answer:
    """Start an agent with a shell that runs `script` and then prints the messages."""

    def start(script: str, *messages: Message, other: Callable[[Message], None] = lambda message: None) -> AgentReady:
        lines = "".join(f"printf '%s\\n' {shlex.quote(json.dumps(message))}; " for message in messages)
        channel = ProcessChannel(["/bin/sh", "-c", f"{script}; {lines} exec cat >/dev/null"], clean_environment())
        channels.append(channel)
        return start_agent(channel, {"t": "welcome"}, channel.read, Decoder(), other)

    return start


def test_login_noise_is_skipped_and_the_rest_of_the_read_is_kept(answer: Answer) -> None:
    others: list[Message] = []
    load = {"t": "load", "busy": 1}
    ready = answer("echo Welcome; echo '{\"t\": 1}'; sleep 0.1", HELLO, load, READY, other=others.append)
    assert (ready.hello["t"], ready.records) == ("hello", ())
    assert [message["t"] for message in others] == ["load"]
    assert ready.noise == 'Welcome\n{"t": 1}'


@pytest.mark.parametrize("messages", [[{"t": "fatal", "code": "scratch", "message": "disk full"}], [HELLO]])
def test_a_fatal_message_is_an_error(answer: Answer, messages: list[Message]) -> None:
    fatal = {"t": "fatal", "code": "scratch", "message": "disk full"}
    with pytest.raises(AgentError, match="disk full") as caught:
        answer("true", *messages, fatal)
    assert caught.value.permanent


def test_a_fatal_message_of_another_code_is_not_permanent(answer: Answer) -> None:
    with pytest.raises(AgentError, match="busy") as caught:
        answer("true", {"t": "fatal", "code": "busy"})
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("script", "reason", "permanent"),
    [
        ("echo 'harbor: no-python: none was found' >&2; exit 127", "none was found", True),
        ("echo 'harbor: python-too-old: it is 2.7' >&2; exit 126", "it is 2.7", True),
        ("echo a >&2; echo b >&2; exit 1", "the agent did not answer: a | b", False),
        ("exit 0", "the agent did not answer: the login shell ended with exit code 0", False),
        ("echo closed; exit 7", "exit code 7 before it ran harbor's command, after it had printed 'closed'", False),
        ("exec >&-; sleep 20", "the agent did not answer", False),
        ("yes hello | head -c 100000", "the agent did not answer: the login shell prints more than 64 KiB", False),
        ("echo \"'exec' is not recognized as an internal\" >&2; exit 1", "it is a Windows machine", True),
        ("echo '\\302\\253 exec \\302\\273 nie jest' >&2; exit 1", "it is a Windows machine", True),
    ],
)
def test_a_missing_hello_is_explained(answer: Answer, script: str, reason: str, permanent: bool) -> None:
    with pytest.raises(AgentError) as caught:
        answer(script)
    assert (reason in caught.value.reason, caught.value.permanent) == (True, permanent), caught.value.reason


def test_an_end_before_ready_is_an_error(answer: Answer) -> None:
    with pytest.raises(AgentError, match="the connection was closed: killed"):
        answer(f"echo '{json.dumps(HELLO)}'; echo killed >&2; exit 1")


def test_a_node_that_sends_without_end_before_ready_is_refused(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "LISTING_MAX", 1 << 20)
    with pytest.raises(AgentError, match="more than 1 MiB") as caught:
        answer(f"echo '{json.dumps(HELLO)}'; while echo '{{\"t\": \"load\"}}'; do :; done")
    assert caught.value.permanent
