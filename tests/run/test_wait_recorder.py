"""The reasons of waiting jobs in the journal: one for every job, and bounded work for big pools."""

import time

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.store.journal_reader import reason_of
from snakemake_executor_plugin_harbor.views.find_jobs import find_jobs
from tests.waiting_scene import Scene, node


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return lambda *specs, **more: Scene(tmp_path, monkeypatch, *specs, **more)


def test_explain_has_a_reason_for_every_waiting_job(scene, tmp_path):
    pool = scene(node("ada"))
    pool.submit(2, rule="first")
    pool.submit(300)
    pool.submit(300, rule="big", disk_mb=1000)
    pool.wait(2)
    reader = pool.reader(tmp_path)
    for name in ("r0", "r51", "r299"):
        assert reason_of(find_jobs(reader, name)[0]) == "node ada has 0 of 2 slots free, the job needs 1"
    assert "0 of 2 slots" in reason_of(find_jobs(reader, "big299")[0])
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
    assert "cores left" in reason_of(find_jobs(reader, "r2")[0]), "why it was placed there"


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
