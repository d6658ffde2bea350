"""Handles what an event means besides the pool's decision."""

from collections.abc import Iterable
from dataclasses import replace

from ..core import events as ev
from ..core.job import exit_event
from ..core.lifecycle import CONNECTED, ON_NODE
from ..core.model import JobId, JobState
from ..core.pool import Pool
from ..core.progress import progress_of
from ..core.protocol import record_of
from ..store.fence_dir import FenceDir
from ..store.journal_writer import Journal
from .client import Client
from .inbox import NodeMessage, OutputRequest
from .node_records import NodeRecords
from .output_reader import OutputReader


class Intake:
    """Keeps the journal's progress and the node records up to date, and looks for jobs that can be adopted.

    Used on the dispatcher's thread. `logs` holds the path of the log of each job's latest attempt.
    """

    def __init__(
        self,
        pool: Pool,
        journal: Journal,
        records: NodeRecords,
        fences: FenceDir,
        output_reader: OutputReader,
        client: Client,
    ) -> None:
        self._pool = pool
        self._journal = journal
        self._records = records
        self._fences = fences
        self._output_reader = output_reader
        self._client = client
        self.logs: dict[JobId, str] = {}

    def handle(self, event: ev.Event) -> list[ev.Event]:
        """Handle what an event means outside the pool. Returns the events that the pool gets in its place."""
        match event:
            case ev.Progressed(node, job, attempt, done, total):
                # The job of a listed attempt may be in the same batch, so the pool need not know it yet.
                if self._records.attempt_progressed(node, job, attempt, done, total) or job in self._pool.jobs:
                    self._journal.set_progress(job, done, total)
            case ev.NodeUp():
                return self._node_up(event)
            case ev.Submitted(jobs):
                # A node may have answered or left a notice after Snakemake's thread looked for these jobs.
                earlier_ids = [spec.id for spec in jobs if spec.earlier_ids]
                ends = self.read_exit_notices() if earlier_ids else []
                return [*ends, event, *self._adopt(earlier_ids)]
            case ev.Prepared(job, _, log) if log is not None:
                self.logs[job] = log
            case ev.Adopted():
                return self._adopted(event)
            case ev.Exited(node, job, attempt):
                last = progress_of(event.message.get("progress"))
                if last is not None and job in self._pool.jobs:
                    self._journal.set_progress(job, last.done, last.total)
                if job not in self._pool.jobs:
                    # Adoption needs to know the end if the job is one of an earlier run and is not handed over yet.
                    self._records.attempt_ended(node, job, attempt, event.message)
        return [event]

    def read_exit_notices(self) -> list[ev.Event]:
        """Return the events that follow from the exit notices that agents have left since the last call."""
        events: list[ev.Event] = []
        added = False
        for message in self._fences.new_exit_notices():
            record = record_of(message) if isinstance(message, dict) and isinstance(message.get("t"), str) else None
            name = str(message["node"]) if record is not None and "node" in message else ""
            if record is None or record.exit is None or not name:
                continue
            job = self._pool.jobs.get(record.job)
            if job is not None and job.attempt == record.attempt and job.node == name:
                events.append(exit_event(name, record.job, record.attempt, record.exit))
            elif job is None and not self._is_listed(record):
                self._records.add_exit_notice(name, record)
                added = True
        return [*events, *(self._adopt_waiting() if added else ())]

    def output_messages(self, requests: Iterable[OutputRequest]) -> list[NodeMessage]:
        """Return the messages that request output from the nodes that run the jobs."""
        messages = []
        for request in requests:
            job = self._pool.jobs.get(request.job)
            if job is None or job.node is None or job.state not in ON_NODE:
                self._output_reader.no_output(request.job, request.offset)
            else:
                message = self._output_reader.request_message(request.job, job.attempt, request.offset)
                messages.append(NodeMessage(job.node, message))
        return messages

    def _node_up(self, event: ev.NodeUp) -> list[ev.Event]:
        name, records = event.node, event.records
        if (view := self._pool.nodes.get(name)) is not None:
            facts = replace(event.facts, staged=self._client.nodes.is_staged(view.spec, event.facts))
            event = replace(event, facts=facts, unusable=self._client.nodes.why_unusable(view.spec, facts) or "")
            if facts.staged and not facts.shared:
                # A directory of the same path on the node is not ours, so what runs in it is none of our business.
                records = tuple(record for record in records if not record.foreign)
                event = replace(event, records=records)
        self._records.node_listed(name, records)
        foreign = sum(1 for record in records if record.foreign and record.running)
        if foreign:
            self._client.notices.warn(
                f"node {name} still runs {foreign} jobs that were started in this directory before its "
                ".snakemake was deleted or replaced; they are ended before anything starts"
            )
        # The notices come first, because the node does not list attempts whose end an older agent has put there.
        return [*self.read_exit_notices(), event, *(self._adopt_waiting() if records else ())]

    def _adopted(self, event: ev.Adopted) -> list[ev.Event]:
        """Add to the event what the node has reported since the attempt's record was looked up: end and progress."""
        attempt = (event.node, event.job, event.attempt)
        if event.log is not None:
            self.logs[event.job] = event.log
        if event.started is not None:
            self._journal.set_start(event.job, event.started)
        adopted = replace(event, exit=event.exit or self._records.exit_of(*attempt))
        progress = self._records.progress_of(*attempt)
        if progress is None:
            return [adopted]
        self._journal.set_progress(event.job, *progress)
        return [adopted, ev.Progressed(*attempt, *progress)]

    def _adopt_waiting(self) -> list[ev.Event]:
        """Adopt the waiting jobs that nodes have from earlier runs, also those that wait for a fence."""
        return self._adopt([id for id, job in self._pool.jobs.items() if job.state == JobState.QUEUED])

    def _adopt(self, jobs: Iterable[JobId]) -> list[ev.Event]:
        return [found for event in self._client.jobs.adopt_waiting(jobs) for found in self._adopted(event)]

    def _is_listed(self, record: ev.NodeRecord) -> bool:
        """Return whether a connected node lists the attempt. Then that node reports the end itself."""
        holders = [self._pool.nodes.get(name) for name in self._records.nodes_that_list(record.job, record.attempt)]
        return any(node is not None and node.state in CONNECTED for node in holders)
