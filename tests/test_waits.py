"""The reasons of waiting jobs are shown once per reason in Snakemake's log, and for every job in the journal."""

import logging
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, Load, NodeFacts, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.node import NodeView
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.jobs.in_flight import InFlight, InFlightJob
from snakemake_executor_plugin_harbor.run.wait_recorder import WaitRecorder
from snakemake_executor_plugin_harbor.session.notices import Notices
from snakemake_executor_plugin_harbor.session.waiting_notices import FORGET_S, LONG_S, PAUSE_S, WaitingNotices
from snakemake_executor_plugin_harbor.store import journal_writer as journals
from snakemake_executor_plugin_harbor.store.journal_reader import JournalReader, find_job, reason_of
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.views.status import status

IDLE = Load(mem_available_mb=8000, disk_free_mb=9000, workdir_free_mb=480)


class Scene:
    """A pool with its journal, its lines in the log, and a clock of whole seconds."""

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
        """Let time pass, with these events in each second. Return the new lines."""
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
        import sqlite3

        return JournalReader("run", self.journal.path, sqlite3.connect(self.journal.path), tmp_path)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return lambda *specs, **more: Scene(tmp_path, monkeypatch, *specs, **more)


def node(name, **more):
    return NodeSpec(name, name, **more)


def test_jobs_that_wait_for_long_are_told_of_once_with_the_reason(scene):
    pool = scene(node("ada"))
    pool.submit(12, disk_mb=1000)
    assert not pool.wait(LONG_S - 1)
    (line,) = pool.wait(30)
    assert line.startswith("harbor: 12 jobs wait: node ada sees 480 MiB free in the working directory")
    assert "the job needs 1000" in line and "harbor explain" in line
    # A reason whose number changes each second stays the same reason.
    for free in range(100, 400):
        assert not pool.wait(1, ev.LoadMeasured("ada", replace(IDLE, workdir_free_mb=free)))


def test_another_reason_is_told_but_at_most_once_a_minute(scene):
    pool = scene(node("ada"))
    pool.submit(3, disk_mb=1000)
    assert len(pool.wait(40)) == 1
    pool.handle(ev.DrainChanged("ada", "new disk"))
    assert not pool.wait(PAUSE_S - 20)
    (line,) = pool.wait(30)
    assert "is drained: new disk" in line
    pool.handle(ev.DrainChanged("ada", ""))
    assert not pool.wait(200), "told already"
    pool.handle(ev.DrainChanged("ada", "new disk"))
    assert not pool.wait(100), "told already"
    pool.handle(ev.DrainChanged("ada", ""))
    pool.wait(FORGET_S + 100)
    pool.handle(ev.DrainChanged("ada", "new disk"))
    assert pool.wait(100), "that was long ago"


def test_who_waits_for_our_own_jobs_is_told_without_alarm(scene):
    pool = scene(node("ada"), node("grace"))
    pool.submit(10)
    (line,) = pool.wait(600)
    assert "6 jobs wait" in line and "has 0 of 2 slots free" in line
    assert pool.lines[0].levelno == logging.INFO


def test_nobody_waits_nothing_is_said(scene):
    pool = scene(node("ada"))
    pool.submit(2)
    assert not pool.wait(300, ev.LoadMeasured("ada", IDLE))


def test_jobs_of_many_requests_with_one_reason_are_one_line(scene):
    pool = scene(node("ada"))
    for i in range(40):
        pool.submit(1, rule=f"r{i}", disk_mb=1000 + i)
    (line,) = pool.wait(100)
    assert "40 jobs wait: " in line and "# r0, r1, r10, ...: harbor explain" in line


def test_many_nodes_with_one_reason_are_named_once(scene):
    pool = scene(*(node(f"n{i:03}") for i in range(100)), load=replace(IDLE, disk_free_mb=3))
    pool.submit(5)
    (line,) = pool.wait(40)
    assert "node n000 (and 99 more) has 3 MiB of scratch free" in line and len(line) < 300


def test_jobs_that_wait_for_a_silent_node_are_told_of(scene):
    pool = scene(node("ada"))
    pool.handle(ev.HostListChanged((node("ada"), node("gone"))), ev.NodeDown("gone", "no route"))
    specs = (JobSpec("run/1", Request(), earlier_ids=("old/1",)),)
    pool.handle(ev.Submitted(specs))
    (line,) = pool.wait(60)
    assert "1 job waits: node gone does not answer, and may still run it since an earlier run" in line


def test_explain_has_a_reason_for_every_waiting_job(scene, tmp_path):
    pool = scene(node("ada"))
    pool.submit(2, rule="first")
    pool.submit(300)
    pool.submit(300, rule="big", disk_mb=1000)
    pool.wait(2)
    reader = pool.reader(tmp_path)
    for name in ("r0", "r51", "r299"):
        assert reason_of(find_job(reader, name)) == "node ada has 0 of 2 slots free, the job needs 1"
    assert "0 of 2 slots" in reason_of(find_job(reader, "big299"))
    assert reader.rows("SELECT count(*) AS n FROM reasons") == [{"n": 2}], "once per group, not per job"


def test_reasons_of_jobs_that_went_on_are_gone(scene, tmp_path):
    pool = scene(node("ada"))
    pool.submit(3)
    pool.wait(2)
    for job in [j for j in pool.pool.jobs.values() if j.node]:
        pool.handle(ev.Prepared(job.spec.id, 1), ev.Exited("ada", job.spec.id, 1, 0, None))
    pool.wait(2)
    reader = pool.reader(tmp_path)
    assert not reader.rows("SELECT * FROM reasons")
    assert "cores left" in reason_of(find_job(reader, "r2")), "why it was placed there"


def test_the_beat_of_a_big_pool_is_bounded(scene):
    pool = scene(*(node(f"n{i}") for i in range(1000)))
    pool.submit(2000, rule="fill")
    for i in range(50):
        pool.submit(2, rule=f"r{i}", mem_mb=100 + i)
    started = time.thread_time()
    pool.recorder.record(pool.pool.jobs, 1000)
    assert time.thread_time() - started < 0.5
    texts = pool.recorder._texts.values()
    assert 0 < len(texts) <= 5 and all(len(text) < 2000 for text in texts), "some groups a beat, reasons in short"
    pool.wait(20)
    assert len(pool.recorder._texts) == 50


# --- the run's side of big runs -----------------------------------------------------------------------------


def test_entries_are_removed_without_a_look_at_all(tmp_path):
    entries = InFlight()
    made = [
        InFlightJob(SimpleNamespace(jobid=i), f"run/{i}", "", None, request=Request(cores=2)) for i in range(50_000)
    ]
    for entry in made:
        entries.add(entry)
    entries.rename(made[7], "old/7")
    assert entries.get("run/7") is entries.get("old/7") is made[7]
    assert entries.requested_cores() == {Request(cores=2): 100_000}
    started = time.thread_time()
    assert all(entries.remove(entry) for entry in made)
    assert time.thread_time() - started < 2
    assert not entries.remove(made[7]) and not entries.all() and entries.requested_cores() == {}
    assert entries.get("run/7") is None and entries.get("old/7") is None


def test_a_screen_reads_few_rows_and_the_events_of_a_job_have_an_index(scene, tmp_path):
    pool = scene(node("ada"))
    for i in range(3000):
        pool.journal.add_job(f"run/{i}", str(i), "r", {}, 1, float(i))
        state = "failed" if i % 100 == 0 else "succeeded"
        pool.journal.add_change(f"run/{i}", 1, state, "ada", "why", 1.0, None)
    pool.submit(1)
    pool.journal.commit()
    reader = pool.reader(tmp_path)
    (tmp_path / ".snakemake" / "harbor").mkdir(parents=True)
    shown, whole = status(reader, whole=False), status(reader)
    assert shown["counts"] == whole["counts"] and shown["counts"]["failed"] == 30
    assert len(shown["jobs"]) <= 6 and len(whole["jobs"]) == 3001
    assert [job["id"] for job in shown["jobs"] if job["state"] == "failed"][-1] == "2900"
    plan = reader.rows("EXPLAIN QUERY PLAN UPDATE events SET job = 'x' WHERE job = 'y'")
    assert "USING" in plan[0]["detail"] and "INDEX" in plan[0]["detail"]


def test_more_memory_than_the_machine_has_is_said_once():
    lines = []
    view = NodeView(node("ada", mem_mb=64_000), NodeState.READY)
    notices = Notices(SimpleNamespace(warning=lines.append), InFlight(), lambda: {"ada": view})
    notices.report_waiting([], 0.0)
    view.facts = NodeFacts(cores=2, mem_mb=16_000)
    notices.notify(act.NodeChanged("ada", NodeState.READY, ""))
    notices.report_waiting([], 1.0)
    (line,) = lines
    assert "gives node ada 64000 MiB of memory, but it has only 16000 MiB" in line
    view.spec = node("ada", mem_mb=8_000)
    notices.report_waiting([], 2.0)
    assert len(lines) == 1
