"""The queue in front of the dispatcher. Other threads put items in, and the dispatcher takes them out in batches.

Each hand-over between threads costs Python's lock. So under load the dispatcher takes what has arrived at intervals of
PACE_S. An item that comes alone is taken immediately.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core import events as ev
from ..core.codec import Message
from ..core.model import JobId, Outcome
from ..remote.connection import IsCurrent

PACE_S = 0.015
BATCH_MAX = 1000
"""At most so many items are taken at once."""
BACKLOG_MAX = 20_000
"""If more items wait than this, nodes have to wait. Each item is below a kilobyte."""
BACKLOG_CHECK_S = 0.1


@dataclass(frozen=True)
class JobDescription:
    """A job with the facts that the journal records about it. `others` are the numbers of the other jobs of a group."""

    id: JobId
    jobid: str
    rule: str
    wildcards: Mapping[str, str]
    threads: int
    others: Sequence[str] = ()


@dataclass(frozen=True)
class NodeMessage:
    """A message for a node that does not follow from a decision of the pool."""

    node: str
    message: Message


@dataclass(frozen=True)
class OutputRequest:
    """A request for a piece of a job's output, from a byte offset on."""

    job: JobId
    offset: int


@dataclass(frozen=True)
class CorrectedEnd:
    """What the journal records instead of the success that a node has reported. `log` is the path of the job's log."""

    outcome: Outcome
    log: str | None


@dataclass(frozen=True)
class _LinkEvent:
    """An event of a connection. It counts only as long as the connection is its node's current one."""

    event: ev.Event
    is_current: IsCurrent


@dataclass
class Batch:
    """The items that are taken at once, by kind. The order within each kind is kept. `total` is the number of jobs of
    the run, if it has changed. `last`: the inbox is closed.
    """

    events: list[ev.Event] = field(default_factory=list)
    jobs: list[JobDescription] = field(default_factory=list)
    messages: list[NodeMessage] = field(default_factory=list)
    output_requests: list[OutputRequest] = field(default_factory=list)
    corrected_ends: list[CorrectedEnd] = field(default_factory=list)
    barriers: list[threading.Event] = field(default_factory=list)
    total: int | None = None
    last: bool = False


_Events = tuple[ev.Event, ...]
_Item = _Events | _LinkEvent | JobDescription | OutputRequest | CorrectedEnd | threading.Event | int | None


class Inbox:
    """Any thread may call the methods, except `take`, which is the dispatcher's."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._later: deque[NodeMessage] = deque()
        self._hurry = threading.Event()
        self._unblocked = threading.Event()
        self._taken_at = 0.0

    def post(self, *events: ev.Event) -> None:
        """Put events in. The pool applies all of them before it places jobs.

        So a job that is submitted and adopted in one call is not placed between the two.
        """
        self._items.put(events)

    def post_from_link(self, event: ev.Event, is_current: IsCurrent) -> None:
        """Put the event of a link in. If too many items wait, this blocks, and with it the link's connection."""
        while self._items.qsize() > BACKLOG_MAX and not self._unblocked.wait(BACKLOG_CHECK_S):
            pass
        self._items.put(_LinkEvent(event, is_current))

    def describe(self, job: JobDescription) -> None:
        """Put a job's description in. It has to come before the event that submits the job."""
        self._items.put(job)

    def set_total(self, jobs: int) -> None:
        """Put in how many jobs the run has."""
        self._items.put(jobs)

    def send_later(self, node: str, message: Message) -> None:
        """Send a message together with other messages, or at the next tick.

        A message wakes eight threads and processes. Snakemake's thread finishes jobs one after the other, so one
        message per job would cost more than it is worth.
        """
        self._later.append(NodeMessage(node, message))

    def request_output(self, request: OutputRequest) -> None:
        """Put in a request for a piece of a job's output."""
        self._items.put(request)

    def correct_end(self, end: CorrectedEnd) -> None:
        """Put in a job's end that replaces the one in the journal."""
        self._items.put(end)

    def barrier(self) -> threading.Event:
        """Return an event that is set when everything that was put in before has been handled.

        The dispatcher does not wait for PACE_S then.
        """
        handled = threading.Event()
        self._items.put(handled)
        self._hurry.set()
        return handled

    def unblock_links(self) -> None:
        """Let no link wait here any more, because the dispatcher may take nothing again."""
        self._unblocked.set()

    def close(self) -> None:
        """Put in the last item."""
        self._unblocked.set()
        self._items.put(None)

    def take(self, timeout: float) -> Batch:
        """Take what has arrived, after a wait of at most `timeout` seconds for the first item."""
        items: list[_Item] = []
        try:
            if timeout > 0:
                items.append(self._items.get(timeout=timeout))
                self._hurry.wait(max(0.0, self._taken_at + PACE_S - time.monotonic()))
                self._hurry.clear()
            self._taken_at = time.monotonic()
            while len(items) < BATCH_MAX:
                items.append(self._items.get_nowait())
        except queue.Empty:
            pass
        batch = Batch()
        for item in items:
            _sort_in(batch, item)
        while self._later:
            batch.messages.append(self._later.popleft())
        return batch


def _sort_in(batch: Batch, item: _Item) -> None:
    if isinstance(item, tuple):
        batch.events.extend(item)
    elif isinstance(item, _LinkEvent):
        if item.is_current():
            batch.events.append(item.event)
    elif isinstance(item, JobDescription):
        batch.jobs.append(item)
    elif isinstance(item, OutputRequest):
        batch.output_requests.append(item)
    elif isinstance(item, CorrectedEnd):
        batch.corrected_ends.append(item)
    elif isinstance(item, int):
        batch.total = item
    elif isinstance(item, threading.Event):
        batch.barriers.append(item)
    else:
        batch.last = True
