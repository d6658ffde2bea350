"""Connects to each node once and collects what it reports about itself.

The commands `harbor nodes` and `harbor doctor` use it. It starts no job.
"""

import queue
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import events as ev
from ..core.codec import Message
from ..core.model import Load, NodeFacts, NodeSpec
from ..core.protocol import VERSION
from .connection import IsCurrent
from .link import Link
from .links import Links
from .transport import Transport

ANSWER_S = 30.0
PER_NODE_S = 0.2
"""The survey waits at most ANSWER_S and this much more per node, because only a few nodes log in at the same time."""


@dataclass
class Answer:
    """Holds the result for one node. If it has no facts, `reason` says why."""

    spec: NodeSpec
    facts: NodeFacts | None = None
    load: Load | None = None
    reason: str = ""
    took: float | None = None
    """This many seconds passed from the start of the survey until the node was ready."""
    skew: float | None = None
    """The node's clock is ahead of this machine's by this many seconds."""


_Inbox = queue.SimpleQueue[tuple[str, ev.Event, float]]
"""An item holds the node, the event, and the time at which the event arrived."""


def survey(
    nodes: Sequence[NodeSpec], transport: Callable[[NodeSpec], Transport], scratch: str | None = None
) -> list[Answer]:
    """Connect to all nodes and return one answer per node, in the same order.

    A node that neither answers nor fails in time gets an answer that says so. `transport` makes the transport to a
    node. `scratch` is the scratch directory of nodes that have none of their own.
    """
    inbox: _Inbox = queue.SimpleQueue()
    answers = {spec.name: Answer(spec) for spec in nodes}
    token = secrets.token_hex(8)
    probe = Path.cwd() / f".harbor-probe-{token}"

    def welcome(spec: NodeSpec) -> Message:
        return {
            "t": "welcome",
            "v": VERSION,
            "run": f"survey-{token}",
            "owner": f"survey-{token}",
            "node": spec.name,
            "load_every": 0.5,
            "scratch": spec.scratch or scratch,
            "workdir": str(probe.parent),
            "probe": {"file": str(probe), "token": token},
            "umask": 0o077,
            "nice": 0,
            "same": [],
        }

    def make_link(spec: NodeSpec) -> Link:
        def post(event: ev.Event, is_current: IsCurrent) -> None:
            inbox.put((spec.name, event, time.time()))

        return Link(spec, transport, welcome, post, lambda *_: None)

    links = Links(make_link)
    started = time.monotonic()
    try:
        probe.write_text(token)
        for spec in nodes:
            links.connect(spec)
        _collect(answers, inbox, started)
    finally:
        probe.unlink(missing_ok=True)
        links.close()
    return list(answers.values())


def _collect(answers: dict[str, Answer], inbox: _Inbox, started: float) -> None:
    """Fill in the answers until each has a load sample or a reason, or the time is over."""

    def incomplete() -> list[Answer]:
        return [answer for answer in answers.values() if not answer.reason and answer.load is None]

    limit = ANSWER_S + len(answers) * PER_NODE_S
    while incomplete() and (left := started + limit - time.monotonic()) > 0:
        try:
            name, event, at = inbox.get(timeout=left)
        except queue.Empty:
            break
        answer = answers[name]
        match event:
            case ev.NodeUp(_, facts):
                answer.facts, answer.took = facts, time.monotonic() - started
                answer.skew = facts.time - at if facts.time else None
            case ev.LoadMeasured(_, load):
                answer.load = load
            case ev.NodeDown(_, reason):
                answer.reason = answer.reason or reason
    for answer in incomplete():
        answer.reason = f"no answer within {limit:.0f} s"
