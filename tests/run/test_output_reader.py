"""Pieces of output: an answer reaches the thread that asked, and nothing else counts as an answer."""

import base64
import threading

import pytest

from snakemake_executor_plugin_harbor.run import output_reader as module
from snakemake_executor_plugin_harbor.run.output_reader import OutputReader


def answer(text=b"text", **more):
    data = base64.b64encode(text).decode()
    return {"t": "output", "job": "run/1", "attempt": 2, "offset": 5, "data": data} | more


@pytest.fixture
def ask(monkeypatch):
    """Read, while another thread does `act` as the dispatcher and the links do."""
    monkeypatch.setattr(module, "ANSWER_S", 0.5)

    def ask(act):
        reader = OutputReader()
        return reader.read("run/1", 5, lambda: threading.Thread(target=act, args=(reader,)).start())

    return ask


def test_the_answer_of_the_running_attempt_counts(ask):
    def act(reader):
        message = reader.request_message("run/1", 2, 5)
        assert (message["t"], message["job"], message["attempt"], message["offset"]) == ("read", "run/1", 2, 5)
        reader.answer_arrived(answer(b"old", attempt=1))
        reader.answer_arrived(answer(b"other", offset=6))
        reader.answer_arrived(answer())
        reader.answer_arrived(answer(b"again"))

    assert ask(act) == b"text"


def test_a_job_that_does_not_run_has_no_output(ask):
    assert ask(lambda reader: reader.no_output("run/1", 5)) is None


def test_no_answer_is_no_output(ask):
    assert ask(lambda reader: reader.request_message("run/1", 2, 5)) is None


@pytest.mark.parametrize("more", [{"data": "%"}, {"data": None}, {"job": ["run/1"]}, {"offset": {}}])
def test_nonsense_of_a_node_is_no_output(ask, more):
    def act(reader):
        reader.request_message("run/1", 2, 5)
        reader.answer_arrived(answer(**more))

    assert ask(act) is None
