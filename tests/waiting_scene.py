"""A pool whose jobs wait, for tests of the reasons in the journal and in Snakemake's log."""

import logging
import sqlite3
from types import SimpleNamespace

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, Load, NodeFacts, NodeSpec, Request
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.run.wait_recorder import WaitRecorder
from snakemake_executor_plugin_harbor.session.waiting_notices import WaitingNotices
from snakemake_executor_plugin_harbor.store import journal_writer as journals
from snakemake_executor_plugin_harbor.store.journal_reader import JournalReader
from snakemake_executor_plugin_harbor.store.journal_writer import Journal

IDLE = Load(mem_available_mb=8000, disk_free_mb=9000, workdir_free_mb=480)


def node(name, **more):
    return NodeSpec(name, name, **more)


class Scene:
    """A pool with its journal and its lines in the log, and a clock of whole seconds."""

    def __init__(self, tmp_path, monkeypatch, *specs, load=IDLE):
        monkeypatch.setattr(journals, "runs_directory", lambda: tmp_path)
        self.journal = Journal("run")
        self.pool = Pool(specs)
        self.pool.connect_all()
        facts = [ev.NodeUp(s.name, NodeFacts(cores=2, mem_mb=8000, boot_id=s.name)) for s in specs]
        self.now = 0.0
        self.lines = []
        logger = logging.Logger("test")
        logger.addHandler(SimpleNamespace(level=0, handle=self.lines.append))
        self.waits, self.recorder = WaitingNotices(logger), WaitRecorder(self.pool.waiting, self.journal)
        self.handle(*facts, *(ev.LoadMeasured(s.name, load) for s in specs))

    def handle(self, *events):
        actions = self.pool.handle(events, self.now)
        for action in actions:
            if isinstance(action, act.JobChanged):
                state = action.state.value
                self.journal.add_change(action.job, action.attempt, state, action.node, action.reason, self.now, None)
                if state == "queued":
                    self.recorder.add_waiting(action.job)
        return actions

    def submit(self, count, rule="r", **request):
        specs = [JobSpec(f"run/{rule}{i}", Request(**request), rule=rule) for i in range(count)]
        for spec in specs:
            self.journal.add_job(spec.id, spec.id.partition("/")[2], rule, {}, 1, self.now)
        return self.handle(ev.Submitted(tuple(specs)))

    def wait(self, seconds, *events):
        """Let time pass with these events in each second. Return the new lines."""
        before = len(self.lines)
        for _ in range(int(seconds)):
            self.now += 1
            self.handle(ev.Tick(12), *events)
            self.recorder.record(self.pool.jobs, len(self.pool.nodes))
            waiting = self.recorder.waiting_jobs()
            if waiting is not None:
                self.waits.report(waiting, self.now)
        self.journal.commit()
        return [record.getMessage() for record in self.lines[before:]]

    def reader(self, tmp_path):
        return JournalReader("run", self.journal.path, sqlite3.connect(self.journal.path), tmp_path)
