"""Snakemake's incomplete markers."""

import sys
import threading
from types import SimpleNamespace

from snakemake.io import _IOFile
from snakemake.persistence.file import FilePersistence

from snakemake_executor_plugin_harbor.snakemake_internals.persistence import Markers, marker_of


def test_markers_are_read_while_other_threads_write_them(tmp_path):
    """Snakemake's own function for it is not thread-safe: jobs failed with a TypeError."""
    persistence = FilePersistence(nolock=True, path=tmp_path / ".snakemake")
    markers = Markers(SimpleNamespace(persistence=persistence))
    jobs = [SimpleNamespace(output=[_IOFile(f"out/{number}", rule=None)]) for number in range(3)]
    stop, failed = threading.Event(), []

    def others() -> None:
        while not stop.is_set():
            try:
                persistence.started(jobs[0], "1")
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=others) for _ in range(2)]
    persistence.started(jobs[1], "2")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    try:
        assert all(markers.has_marker(jobs[1]) and not markers.has_marker(jobs[2]) for _ in range(3000))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert failed == []


def test_a_marker_has_the_id_of_the_run_that_began_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    persistence = FilePersistence(nolock=True, path=tmp_path / ".snakemake")
    workflow = SimpleNamespace(persistence=persistence)
    assert not Markers(workflow).any_at_start
    job, other, none = (
        SimpleNamespace(output=[_IOFile(name, rule=None) for name in names]) for names in ("a", "b", "")
    )
    persistence.started(job, "harbor:run/1")
    persistence.started(other, "slurm:7")
    markers = Markers(workflow)
    assert markers.any_at_start and markers.ids([job, other, none]) == ["run/1"]
    assert markers.has_marker(job) and markers.has_marker(other)
    assert markers.has_marker(none), "a job without outputs has no marker that could be removed"
    assert marker_of("run/1") in markers.text() and marker_of("run/2") not in markers.text()
