"""The dispatcher with a real agent on this machine, and without Snakemake: from a posted job to its report."""

import threading

import pytest

from snakemake_executor_plugin_harbor.core import actions as act
from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, JobState, NodeSpec, NodeState, Request
from snakemake_executor_plugin_harbor.core.policy import Policy
from snakemake_executor_plugin_harbor.core.pool import Pool
from snakemake_executor_plugin_harbor.core.protocol import VERSION
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target
from snakemake_executor_plugin_harbor.run.client import Client
from snakemake_executor_plugin_harbor.run.dispatcher import Dispatcher
from snakemake_executor_plugin_harbor.run.inbox import JobDescription
from snakemake_executor_plugin_harbor.run.snapshot import Snapshot
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir
from tests.sshd import wait_until

RUN = "260101-000000-aaaaaa"
HERE = NodeSpec("here", "localhost", slots=2, local=True)
WAIT_S = 30.0


class Upstairs:
    """What the dispatcher works for: all parts of its Client. `scripts` are the jobs' commands."""

    def __init__(self, directory, workdir):
        self.directory = directory
        self.workdir = workdir
        self.scripts = {}
        self.ends = {}
        self.hosts = None
        self.warnings = []
        self.changes = []
        self.errors = []
        self.grown = threading.Event()

    # nodes
    def transport(self, node):
        return make_transport(Target(node.name, node.host, None, None, node.local), "paramiko", SshSettings(None, None))

    def welcome(self, node):
        probe = {"file": str(self.workdir.probe), "token": self.workdir.token}
        return {
            "t": "welcome",
            "v": VERSION,
            "run": RUN,
            "node": node.name,
            "scratch": str(self.directory / "scratch"),
            "workdir": str(self.directory),
            "owner": self.workdir.id,
            "fence": str(self.workdir.fences.path),
            "umask": 0o077,
            "nice": 0,
            "load_every": 0.2,
            "probe": probe,
            "same": [],
        }

    def is_staged(self, node, facts):
        return False

    def why_unusable(self, node, facts):
        return None if facts.shared else "not shared"

    def changed_host_list(self):
        hosts, self.hosts = self.hosts, None
        return hosts

    # jobs
    def adopt_waiting(self, jobs):
        return []

    def capacity_grown(self):
        self.grown.set()

    # start messages
    def prepare(self, task):
        if self.scripts[task.job] is None:
            return ev.PrepareFailed(task.job, task.attempt, "unprepared", "no command")
        return {
            "t": "start",
            "job": task.job,
            "attempt": task.attempt,
            "name": "rule",
            "scripts": [self.scripts[task.job]],
            "shell": "/bin/sh",
            "env": {},
            "cwd": str(self.directory),
            "log": str(self.directory / f"{task.job.replace('/', '.')}.log"),
            "needs": [],
            "runtime": None,
            "progress": None,
            "hash": "h",
            "meta": {},
            "cpus": 1,
        }

    def rule_of(self, job):
        return "rule"

    def report_slow(self, task, seconds):
        raise AssertionError("nothing is slow here")

    def more_jobs_expected(self):
        return False

    # end reports
    def report(self, outcome):
        self.ends[outcome.job] = outcome
        return True

    def batch_reported(self):
        pass

    # notices
    def notify(self, change):
        self.changes.append(change)

    def report_waiting(self, groups, now):
        pass

    def warn(self, text):
        self.warnings.append(text)


class Scene:
    def __init__(self, directory):
        self.directory = directory
        self.workdir = Workdir(directory, RUN)
        self.workdir.acquire()
        self.journal = Journal(RUN)
        self.workdir.write_pointer(self.journal.path)
        self.client = Upstairs(directory, self.workdir)
        pool = Pool([HERE], Policy(max_load=100.0, min_free_mem_mb=0))
        self.dispatcher = Dispatcher(pool, self.journal, self.workdir)

    def start(self):
        parts = [self.client] * 5
        self.dispatcher.start(Client(*parts, self.client.errors.append))
        assert self.dispatcher.wait(lambda now: now.slots > 0, WAIT_S)

    def submit(self, number, script):
        id = f"{RUN}/{number}"
        self.client.scripts[id] = script
        self.dispatcher.describe_job(JobDescription(id, str(number), "rule", {}, 1))
        self.dispatcher.post(ev.Submitted((JobSpec(id, Request()),)))
        return id

    def end(self, id):
        wait_until(lambda: id in self.client.ends, WAIT_S, f"the end of {id}")
        return self.client.ends[id]

    def rows(self):
        return {row["jobid"]: row for row in open_run(self.directory).rows("SELECT * FROM jobs")}

    def close(self):
        self.dispatcher.post(ev.CancelAll(0.1))
        self.dispatcher.wait(lambda now: now.idle, WAIT_S)
        self.dispatcher.close("ended")
        self.workdir.release()
        assert not self.client.errors


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_writer, "runs_directory", lambda: tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    (tmp_path / "work").mkdir()
    made = Scene(tmp_path / "work")
    made.start()
    yield made
    made.close()


def test_jobs_run_and_are_reported_and_recorded(scene):
    good, bad, none = scene.submit(1, "echo out"), scene.submit(2, "exit 3"), scene.submit(3, None)
    scene.dispatcher.prepare_placed()
    assert scene.end(good).state == JobState.SUCCEEDED
    assert scene.end(bad).state == JobState.FAILED and scene.end(bad).reason == "exit code 3"
    assert scene.end(none).reason == "no command" and scene.end(none).exit is None
    assert scene.dispatcher.wait(lambda now: now.idle, WAIT_S) and scene.client.grown.is_set()
    rows = scene.rows()
    assert {jobid: row["state"] for jobid, row in rows.items()} == {"1": "succeeded", "2": "failed", "3": "failed"}
    assert rows["1"]["log"] == str(scene.directory / f"{RUN}.1.log") and rows["3"]["log"] is None
    scene.dispatcher.result_recorded("here", good, 1)
    assert not scene.workdir.fences.is_result_recorded(good, 1), "the node is connected, and forgets it"


def test_output_of_a_running_job(scene):
    id = scene.submit(1, "echo first; while ! test -e go; do sleep 0.1; done")
    wait_until(lambda: scene.dispatcher.read_output(id, 0) == b"first\n", WAIT_S, "the output")
    assert scene.dispatcher.read_output(id, 6) == b""
    (scene.directory / "go").touch()
    assert scene.end(id).state == JobState.SUCCEEDED
    assert scene.dispatcher.read_output(id, 0) is None, "it does not run"
    assert scene.dispatcher.read_output(f"{RUN}/none", 0) is None


def test_a_drained_node_gets_nothing_more(scene):
    scene.dispatcher.post(ev.DrainChanged("here", "new disk"))
    scene.dispatcher.wait_for_round(WAIT_S)
    assert scene.dispatcher.snapshot.nodes["here"].shown_state == "drained"
    id = scene.submit(1, "true")
    scene.dispatcher.wait_for_round(WAIT_S)
    assert scene.dispatcher.snapshot.idle
    scene.dispatcher.post(ev.DrainChanged("here", ""))
    assert scene.end(id).state == JobState.SUCCEEDED


def test_another_host_list(scene):
    scene.client.hosts = (NodeSpec("here", "localhost", slots=1, local=True), NodeSpec("new", "localhost", local=True))
    assert scene.dispatcher.wait(lambda now: list(now.nodes) == ["here", "new"], WAIT_S)
    assert scene.dispatcher.wait(Snapshot.all_nodes_decided, WAIT_S)
    assert scene.dispatcher.snapshot.nodes["here"].slots == 1
    scene.client.hosts = (NodeSpec("here", "localhost", slots=1, local=True),)
    assert scene.dispatcher.wait(lambda now: list(now.nodes) == ["here"], WAIT_S)
    wait_until(lambda: act.NodeChanged("new", NodeState.REMOVED) in _shown(scene), WAIT_S, "the notice")


def _shown(scene):
    return [act.NodeChanged(c.node, c.state) for c in scene.client.changes if isinstance(c, act.NodeChanged)]


def test_a_bug_in_the_client_is_reported_and_nobody_waits_for_ever(scene):
    scene.client.changed_host_list = lambda: 1 // 0
    wait_until(lambda: scene.client.errors, WAIT_S, "the error")
    assert scene.dispatcher.failed and isinstance(scene.client.errors.pop(), ZeroDivisionError)
    assert not scene.dispatcher.wait(lambda now: False, WAIT_S)
