"""The object of `harbor status --json`."""

import time

import pytest

from snakemake_executor_plugin_harbor.cli import explain
from snakemake_executor_plugin_harbor.store.workdir import Workdir
from snakemake_executor_plugin_harbor.views.find_jobs import find_case
from snakemake_executor_plugin_harbor.views.status import eta, status
from tests.waiting_scene import Scene, node


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return lambda *specs, **more: Scene(tmp_path, monkeypatch, *specs, **more)


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


def test_a_run_runs_as_long_as_its_controller_holds_the_lock(scene, tmp_path):
    pool = scene(node("ada"))
    pool.journal.set_facts(state="running")
    pool.submit(1)
    pool.journal.set_node(pool.pool.nodes["ada"], 0.0)
    pool.journal.commit()
    reader = pool.reader(tmp_path)
    workdir = Workdir(tmp_path, "run")
    workdir.acquire()
    assert status(reader)["state"] == "running" and status(reader)["nodes"][0]["running"] == 1
    workdir.release()
    assert status(reader)["state"] == "detached", "the controller was killed, and a job is unfinished"
    pool.journal.set_facts(state="detached")
    pool.journal.commit()
    assert status(reader)["state"] == "detached"
    pool.journal.set_facts(state="ended")
    pool.journal.commit()
    assert status(reader)["state"] == "ended"
    assert status(reader)["nodes"][0]["running"] == 0, "the row of the node is older than the end of its last job"


def test_the_time_left_follows_the_pace_so_far():
    started = time.time() - 100
    assert eta({"total": 50, "started": started}, {"succeeded": 10}) == pytest.approx(400, rel=0.05)
    assert eta({"total": 50, "started": started}, {}) is None, "no job has ended"
    assert eta({"total": 50, "started": started, "ended": 1.0}, {"succeeded": 50}) is None


def test_transfers_of_files_are_those_of_the_last_second(scene, tmp_path, capsys):
    pool = scene(node("ada"))
    pool.submit(1)
    (job,) = pool.pool.jobs
    pool.journal.add_job(job, "7", "r", {}, 1, 0.0)
    pool.journal.set_facts(state="running")
    moving = {"job": job, "attempt": 1, "way": "to", "done": 1_000_000, "total": 3_000_000}

    def record(transfers):
        pool.journal.note_transfers(transfers)
        pool.journal.set_node(pool.pool.nodes["ada"], 0.0)
        pool.journal.commit()
        return status(pool.reader(tmp_path))["nodes"][0]["transfers"]

    workdir = Workdir(tmp_path, "run")
    workdir.acquire()
    assert record({"ada": [moving]}) == [{**moving, "job": "7"}]
    reader = pool.reader(tmp_path)
    explain._explain(reader, find_case(reader, "7", "harbor explain")[0], [])
    assert "attempt 1  files are sent: 1 of 3 MB" in capsys.readouterr().out
    assert record({}) == []
    record({"ada": [moving]})
    workdir.release()
    assert status(pool.reader(tmp_path))["nodes"][0]["transfers"] == [], "the controller was killed"
