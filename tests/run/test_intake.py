"""What events mean besides the pool's decision: node records, exit notices, adoption, progress."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, Load, NodeFacts, NodeSpec, Request, Reservation
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.progress import Progress
from snakemake_executor_plugin_harbor.run.client import Client
from snakemake_executor_plugin_harbor.run.inbox import OutputRequest
from snakemake_executor_plugin_harbor.run.intake import Intake
from snakemake_executor_plugin_harbor.run.node_records import NodeRecords
from snakemake_executor_plugin_harbor.run.output_reader import OutputReader
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.fence_dir import FenceDir
from snakemake_executor_plugin_harbor.store.journal_writer import Journal

FACTS = NodeFacts(cores=2, mem_mb=8000, boot_id="b", shared=True)
LOAD = Load(mem_available_mb=8000, disk_free_mb=9000)


class Scene:
    def __init__(self, tmp_path):
        self.pool = Pool([NodeSpec("ada", "ada")])
        self.pool.connect_all()
        self.records = NodeRecords()
        self.fences = FenceDir(tmp_path / "fence", "run")
        self.fences.path.mkdir()
        self.asked, self.warnings, self.adoptable = [], [], {}
        nodes = SimpleNamespace(
            is_staged=lambda node, facts: False,
            why_unusable=lambda node, facts: None if facts.shared else "not shared",
        )
        jobs = SimpleNamespace(adopt_waiting=self.adopt_waiting)
        notices = SimpleNamespace(warn=self.warnings.append)
        client = Client(nodes, jobs, None, None, notices, None)
        self.intake = Intake(self.pool, Journal("run"), self.records, self.fences, OutputReader(), client)

    def adopt_waiting(self, jobs):
        self.asked.append(sorted(jobs))
        return [self.adoptable[job] for job in jobs if job in self.adoptable]

    def handle(self, event):
        events = self.intake.handle(event)
        self.pool.handle(events, 1.0)
        return events

    def run(self, job="run/1"):
        """A job that runs on ada."""
        self.handle(ev.NodeUp("ada", FACTS))
        for event in (
            ev.LoadMeasured("ada", LOAD),
            ev.Submitted((JobSpec(job, Request()),)),
            ev.Prepared(job, 1, "run.log"),
            ev.Started("ada", job, 1),
        ):
            self.handle(event)

    def notice(self, name, attempt=1, node="ada", **more):
        message = {"t": "known", "job": name, "attempt": attempt, "running": False, "node": node, "hash": "h"}
        message |= {"exit": {"t": "exited", "job": name, "attempt": attempt, "code": 0}} | more
        (self.fences.path / f"{name.replace('/', '.')}.1.word").write_text(json.dumps(message))


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_writer, "runs_directory", lambda: tmp_path)
    return Scene(tmp_path)


def test_a_notice_of_a_running_attempt_is_its_end(scene):
    scene.run()
    scene.notice("run/1")
    (event,) = scene.intake.read_exit_notices()
    assert isinstance(event, ev.Exited) and (event.node, event.job, event.code) == ("ada", "run/1", 0)
    assert scene.intake.read_exit_notices() == []


def test_a_notice_of_another_run_is_kept_for_adoption(scene):
    scene.run()
    scene.notice("old/1")
    assert scene.intake.read_exit_notices() == [] and scene.asked[-1] == []
    assert scene.records.exit_of("ada", "old/1", 1)["code"] == 0


def test_a_notice_of_an_attempt_that_a_connected_node_lists_does_not_count(scene):
    scene.handle(ev.NodeUp("ada", FACTS, (ev.NodeRecord("old/1", 1, running=True),)))
    scene.notice("old/1")
    assert scene.intake.read_exit_notices() == []
    assert scene.records.exit_of("ada", "old/1", 1) is None


@pytest.mark.parametrize("more", [{"exit": None}, {"node": ""}, {"job": 7}, {"t": "other"}, {"attempt": "x"}])
def test_a_notice_without_sense_is_ignored(scene, more):
    scene.run()
    scene.notice("run/1", **more)
    assert scene.intake.read_exit_notices() == []


def test_a_node_that_does_not_see_the_directory_is_unusable_and_foreign_jobs_are_reported(scene):
    records = (ev.NodeRecord("x/1", 1, running=True, foreign=True),)
    (event,) = scene.handle(ev.NodeUp("ada", NodeFacts(cores=2, mem_mb=1), records))
    assert event.unusable == "not shared" and "still runs 1 jobs" in scene.warnings[0]
    assert scene.asked == [[]], "records may belong to waiting jobs"


def test_an_end_between_lookup_and_adoption_is_not_lost(scene):
    scene.handle(ev.NodeUp("ada", FACTS, (ev.NodeRecord("old/1", 1, running=True, hash="h"),)))
    scene.handle(ev.Exited("ada", "old/1", 1, 0, None, {"t": "exited", "code": 0}))
    adopted = ev.Adopted("old/1", 1, "ada", Reservation((0,)), log="old.log")
    (event,) = scene.intake.handle(adopted)
    assert event.exit == {"t": "exited", "code": 0} and scene.intake.logs["old/1"] == "old.log"


def test_progress_that_a_node_reports_before_the_adoption_is_not_lost(scene):
    """The node reports it once. A task that makes a step per hour would show none for an hour."""
    listed = tuple(ev.NodeRecord(f"old/{i}", 1, running=True, hash="h") for i in range(3))
    scene.handle(ev.NodeUp("ada", FACTS, listed))
    scene.handle(ev.Progressed("ada", "old/1", 1, 3, 120))
    early = scene.adoptable["run/1"] = ev.Adopted("old/1", 1, "ada", Reservation((0,)), submitted_as="run/1")
    late = scene.adoptable["run/2"] = ev.Adopted("old/2", 1, "ada", Reservation((1,)), submitted_as="run/2")
    jobs = tuple(JobSpec(f"run/{i}", Request(), earlier_ids=(f"old/{i}",)) for i in (1, 2))
    assert scene.handle(ev.Submitted(jobs))[1:] == [early, ev.Progressed("ada", "old/1", 1, 3, 120), late]
    assert scene.pool.jobs["old/1"].progress == Progress(3, 120)
    scene.handle(ev.NodeUp("ada", FACTS))
    assert scene.records.progress_of("ada", "old/1", 1) is None, "the node lists it no more"


def test_a_submitted_job_of_an_earlier_run_is_adopted_in_the_same_round(scene):
    adopted = scene.adoptable["run/2"] = ev.Adopted("old/2", 1, "ada", Reservation((0,)), submitted_as="run/2")
    submitted = ev.Submitted((JobSpec("run/1", Request()), JobSpec("run/2", Request(), earlier_ids=("old/2",))))
    assert scene.intake.handle(submitted) == [submitted, adopted] and scene.asked == [["run/2"]]


def test_output_is_requested_from_the_node_that_runs_the_job(scene):
    scene.run()
    (message,) = scene.intake.output_messages([OutputRequest("run/1", 3), OutputRequest("run/2", 0)])
    assert message.node == "ada" and (message.message["job"], message.message["offset"]) == ("run/1", 3)
    assert scene.intake.logs["run/1"] == "run.log"


@pytest.mark.parametrize("staged", [True, False])
def test_what_runs_in_another_directory_of_the_same_path_is_not_ended(scene, staged):
    """A node that does not have our working directory may have another one in its place, with jobs of its own."""
    scene.intake._client.nodes.is_staged = lambda node, facts: staged
    theirs = ev.NodeRecord("other/1", 1, running=True, exit=None, hash="h", meta={}, foreign=True)
    facts = replace(FACTS, shared=not staged)
    events = scene.handle(ev.NodeUp("ada", facts, (theirs,)))
    (up,) = [event for event in events if isinstance(event, ev.NodeUp)]
    assert (up.records, bool(scene.warnings)) == (((), False) if staged else ((theirs,), True))
