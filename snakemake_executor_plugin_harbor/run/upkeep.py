"""The dispatcher's work once per second: the lock, the links, the journal, waiting jobs and the host list."""

import time

from ..core import events as ev
from ..core.pool import Pool
from ..remote.links import Links
from ..store.journal_writer import Journal
from ..store.workdir import Workdir
from .client import Client
from .intake import Intake
from .wait_recorder import WaitRecorder

NODES_PER_SECOND = 250
"""Rows of nodes that are written each second. A thousand rows take 20 ms, in which nothing is decided."""


class Upkeep:
    """Used on the dispatcher's thread."""

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        workdir: Workdir,
        links: Links,
        waits: WaitRecorder,
        intake: Intake,
        client: Client,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._workdir = workdir
        self._links = links
        self._waits = waits
        self._intake = intake
        self._client = client
        self._next_node = 0

    def run(self, now: float) -> list[ev.Event]:
        """Look after the lock, the links, the journal and the waiting jobs. Returns the events that follow.

        `now` is the time of a clock that stands still during suspend.
        """
        self._workdir.heartbeat()
        self._links.check_silence(now)
        self._write_nodes()
        self._record_waiting(now)
        events = self._intake.read_exit_notices()
        events += [ev.FenceResult(job, attempt, written=True) for job, attempt in self._workdir.fences.write_missing()]
        hosts = self._client.nodes.changed_host_list()
        return events if hosts is None else [*events, ev.HostListChanged(hosts)]

    def _write_nodes(self) -> None:
        """Write the rows of nodes, because their load has changed. In a big pool each call writes some of them."""
        names = list(self._pool.nodes)
        first = self._next_node if self._next_node < len(names) else 0
        self._next_node = first + NODES_PER_SECOND
        at = time.time()
        self._journal.note_transfers(self._client.transfers())
        for name in names[first : self._next_node]:
            self._journal.set_node(self._pool.nodes[name], at)

    def _record_waiting(self, now: float) -> None:
        """Record why jobs wait, for `harbor explain` and for Snakemake's log."""
        self._waits.record(self._pool.jobs, len(self._pool.nodes))
        groups = self._waits.waiting_jobs()
        if groups is not None:
            self._client.notices.report_waiting(groups, now)
