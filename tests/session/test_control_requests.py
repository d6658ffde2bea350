"""Requests of the `harbor` command, answered by a run with a real node."""

from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.session.control_requests import ControlRequests


@pytest.fixture
def stopped():
    return []


@pytest.fixture
def answer(start, stopped):
    run = start("2/localhost")
    assert run.dispatcher.wait(lambda now: now.slots > 0, 30)
    return ControlRequests(
        run.dispatcher, lambda: 7, stopped.append, SimpleNamespace(cancel=dict, find=dict), lambda: True
    ).answer


def test_a_node_is_drained_and_resumed(answer):
    assert answer({"op": "drain", "node": "localhost", "reason": "new disk"}) == {"state": "drained"}
    assert answer({"op": "resume", "node": "localhost"}) == {"state": "ready"}


def test_an_unknown_node_is_an_error_that_lists_the_known_ones(answer):
    with pytest.raises(HarborError, match="no node ada; it has localhost") as caught:
        answer({"op": "drain", "node": "ada"})
    assert "Try: harbor status" in str(caught.value)


def test_a_node_that_is_connected_is_not_given_up(answer):
    with pytest.raises(HarborError, match="localhost is connected") as caught:
        answer({"op": "forget", "node": "localhost"})
    assert "Try: harbor drain localhost" in str(caught.value)


@pytest.mark.parametrize("op", ["cancel", "find"])
def test_requests_about_jobs_are_passed_on(answer, op):
    assert answer({"op": op, "names": ["c09"]}) == {"op": op, "names": ["c09"]}


def test_detach_returns_the_number_of_jobs(answer):
    assert answer({"op": "detach"}) == {"jobs": 7}


def test_stop_is_passed_on(answer, stopped):
    assert answer({"op": "stop", "now": True}) == {"now": True}
    assert answer({"op": "stop"}) == {"now": False}
    assert stopped == [True, False] and answer({"op": "begun"}) == {"begun": True}


def test_a_job_that_does_not_run_has_no_output(answer):
    assert answer({"op": "read", "job": "r/1"}) == {"data": None}


@pytest.mark.parametrize("request_", [{}, {"op": "juggle"}, {"op": ["read"]}])
def test_an_unknown_request_is_an_error(answer, request_):
    with pytest.raises(HarborError, match="does not know the request"):
        answer(request_)
