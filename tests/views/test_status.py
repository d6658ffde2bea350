"""The object of `harbor status --json`."""

import pytest

from snakemake_executor_plugin_harbor.views.status import status
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
