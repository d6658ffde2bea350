"""Connects to each node once and collects what it reports about itself.

The commands `harbor nodes`, `harbor doctor` and `harbor clean` use it. It starts no job.
"""

import os
import queue
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ..core import events as ev
from ..core.codec import Message
from ..core.model import Checkup, Load, NodeFacts, NodeSpec, StoredRecords
from ..core.protocol import VERSION, checkup_of, inventory_of
from .connection import IsCurrent
from .link import Link
from .links import Links
from .node_file import VISIBLE_S, NodeFile, inspect
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
    loads: int = 0
    """This many load samples have arrived. The first one is short and contains the start of the agent."""
    reason: str = ""
    took: float | None = None
    """This many seconds passed from the start of the survey until the node was ready."""
    skew: float | None = None
    """The node's clock is ahead of this machine's by this many seconds."""
    login: str = ""
    """This command line logs in to the node."""
    checkup: Checkup | None = None
    file: NodeFile | None = None
    """This is the file that the node has made in the working directory."""
    stored: tuple[StoredRecords, ...] | None = None
    """These are the records of attempts that the node keeps."""


@dataclass(frozen=True)
class Questions:
    """What doctor asks in addition: whether the directory is there under its `resolved` path, and which of `needs` are
    missing. The first of these is our Python.
    """

    resolved: Path
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Cleaning:
    """What clean asks in addition: to remove the records of these working directories, and to list those left."""

    owners: tuple[str, ...] = ()


_Stored = tuple[StoredRecords, ...]
_Inbox = queue.SimpleQueue[tuple[str, ev.Event | Checkup | _Stored, float]]
"""An item holds the node, the event or the answers, and the time at which they arrived."""


class _Survey:
    """Connects to the nodes and fills in an answer for each."""

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        transport: Callable[[NodeSpec], Transport],
        scratch: str | None,
        workdir: Path,
        questions: Questions | Cleaning | None,
    ) -> None:
        self._transport = transport
        self._scratch = scratch
        self._workdir = workdir
        self._questions = questions
        self._token = secrets.token_hex(8)
        self._probe = workdir / f".harbor-probe-{self._token}"
        self._inbox: _Inbox = queue.SimpleQueue()
        self._links = Links(self._make_link)
        self._by_name: dict[str, Link] = {}
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self.answers = {spec.name: Answer(spec, login=transport(spec).login) for spec in nodes}

    def run(self) -> None:
        started = time.monotonic()
        try:
            self._probe.write_text(self._token)
            for answer in self.answers.values():
                self._links.connect(answer.spec)
            self._collect(started)
            self._look_for_files()
        finally:
            self._probe.unlink(missing_ok=True)
            self._links.close()
            self._remove_files()

    def _remove_files(self) -> None:
        for name in self.answers:
            with suppress(OSError):
                self._file_of(name).unlink()

    def _welcome(self, spec: NodeSpec) -> Message:
        return {
            "t": "welcome",
            "v": VERSION,
            "run": f"survey-{self._token}",
            "owner": f"survey-{self._token}",
            "node": spec.name,
            "load_every": 0.5,
            "scratch": spec.scratch or self._scratch,
            "workdir": str(self._workdir),
            "probe": {"file": str(self._probe), "token": self._token},
            "umask": self._umask,
            "nice": 0,
            "same": [],
            "python": None if spec.python else sys.executable,
            "snakemake": version("snakemake"),
        }

    def _make_link(self, spec: NodeSpec) -> Link:
        def post(event: ev.Event, is_current: IsCurrent) -> None:
            self._inbox.put((spec.name, event, time.time()))

        def on_other_message(name: str, message: Message) -> None:
            if message["t"] == "checkup":
                self._inbox.put((name, checkup_of(message), time.time()))
            elif message["t"] == "inventory":
                self._inbox.put((name, inventory_of(message), time.time()))
            elif message["t"] == "error":
                self._inbox.put((name, ev.NodeDown(name, "the agent could not answer"), time.time()))

        self._by_name[spec.name] = link = Link(spec, self._transport, self._welcome, post, on_other_message)
        return link

    def _file_of(self, name: str) -> Path:
        """Return the path of the file that a node makes for us."""
        return self._workdir / f".harbor-node-{self._token}-{list(self.answers).index(name)}"

    def _ask(self, name: str, questions: Questions | Cleaning) -> None:
        if isinstance(questions, Cleaning):
            self._links.send({name: [{"t": "inventory", "remove": list(questions.owners)}]})
            return
        message = {
            "t": "checkup",
            "probe": {"file": str(self._file_of(name)), "token": self._token},
            "workdir": str(questions.resolved),
            "needs": list(questions.needs),
        }
        self._links.send({name: [message]})

    def _collect(self, started: float) -> None:
        """Fill in the answers until each is complete or has a reason, or the time is over."""
        limit = ANSWER_S + len(self.answers) * PER_NODE_S
        while self._incomplete() and (left := started + limit - time.monotonic()) > 0:
            try:
                name, event, at = self._inbox.get(timeout=left)
            except queue.Empty:
                break
            answer = self.answers[name]
            match event:
                case ev.NodeUp(_, facts):
                    answer.facts, answer.took = facts, time.monotonic() - started
                    answer.skew = facts.time - at if facts.time else None
                    if self._questions is not None:
                        self._ask(name, self._questions)
                case ev.LoadMeasured(_, load):
                    answer.load = load
                    answer.loads += 1
                case ev.NodeDown(_, reason):
                    answer.reason = answer.reason or reason
                case Checkup():
                    answer.checkup = event
                case tuple():
                    answer.stored = event
        for answer in self._incomplete():
            answer.reason = self._no_answer(answer, limit)

    def _look_for_files(self) -> None:
        """Look for the files that nodes say they have made for us."""
        deadline = time.monotonic() + VISIBLE_S
        for name, answer in self.answers.items():
            if answer.checkup is not None and answer.checkup.state == "here" and not answer.checkup.made:
                answer.file = inspect(self._file_of(name), self._token, deadline)

    def _incomplete(self) -> list[Answer]:
        def complete(answer: Answer) -> bool:
            if self._questions is None:
                return answer.load is not None
            if isinstance(self._questions, Cleaning):
                return answer.stored is not None
            return answer.loads > 1 and answer.checkup is not None

        return [answer for answer in self.answers.values() if not answer.reason and not complete(answer)]

    def _no_answer(self, answer: Answer, limit: float) -> str:
        reason = f"no answer within {limit:.0f} s"
        if not answer.spec.local and not self._by_name[answer.spec.name].logged_in:
            return reason
        hint = f"{answer.login} df".strip()
        return (
            f"{reason}, although the login worked. Its login shell waits for something, or a directory there (home, "
            f"scratch, working directory) does not answer\n  Try: {hint}"
        )


def survey(
    nodes: Sequence[NodeSpec],
    transport: Callable[[NodeSpec], Transport],
    scratch: str | None = None,
    workdir: Path | None = None,
    questions: Questions | Cleaning | None = None,
) -> list[Answer]:
    """Connect to all nodes and return one answer per node, in the same order.

    A node that neither answers nor fails in time gets an answer that says so. `transport` makes the transport to a
    node. `scratch` is the scratch directory of nodes that have none of their own. `workdir` is the working directory as
    nodes shall find it, by default the current one.
    """
    made = _Survey(nodes, transport, scratch, workdir or Path.cwd(), questions)
    made.run()
    return list(made.answers.values())
