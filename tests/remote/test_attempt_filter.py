"""A connection may report about the attempts that it was given, until they end, and about nothing else."""

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.remote.attempt_filter import AttemptFilter

START = {"t": "start", "job": "r/1", "attempt": 1}
FORGET = {"t": "forget", "job": "r/1", "attempt": 1}


def test_an_attempt_is_allowed_from_its_start_until_it_is_gone():
    attempts = AttemptFilter()
    gone = ev.AttemptUnknown("ada", "r/1", 1)
    assert attempts.allowed_part(gone) is None
    attempts.messages_sent([{"t": "load"}, START])
    assert attempts.allowed_part(gone) is gone
    assert attempts.allowed_part(gone) is None, "it has ended"


def test_a_forgotten_attempt_is_not_allowed():
    attempts = AttemptFilter()
    attempts.messages_sent([START, FORGET])
    assert attempts.allowed_part(ev.AttemptUnknown("ada", "r/1", 1)) is None


def test_only_the_allowed_part_of_an_event_is_left():
    attempts = AttemptFilter()
    attempts.messages_sent([START])
    alive = attempts.allowed_part(ev.AttemptsActive("ada", (("r/1", 1), ("r/1", 2), ("r/2", 1))))
    assert alive == ev.AttemptsActive("ada", (("r/1", 1),))
    assert attempts.allowed_part(ev.AttemptsActive("ada", (("r/2", 1),))) is None


def test_what_the_node_lists_replaces_what_was_sent():
    attempts = AttemptFilter()
    attempts.messages_sent([START])
    attempts.node_listed([])
    assert attempts.allowed_part(ev.AttemptUnknown("ada", "r/1", 1)) is None


def test_events_about_the_node_itself_pass():
    down = ev.NodeDown("ada", "the connection was closed")
    assert AttemptFilter().allowed_part(down) is down
