"""What waits says so in Snakemake's log, once per reason."""

import logging
from dataclasses import replace

import pytest

from snakemake_executor_plugin_harbor.core import events as ev
from snakemake_executor_plugin_harbor.core.model import JobSpec, Request
from snakemake_executor_plugin_harbor.session.waiting_notices import FORGET_S, LONG_S, PAUSE_S
from tests.waiting_scene import IDLE, Scene, node


@pytest.fixture
def scene(tmp_path, monkeypatch):
    return lambda *specs, **more: Scene(tmp_path, monkeypatch, *specs, **more)


def test_jobs_that_wait_for_long_are_reported_once_with_the_reason(scene):
    pool = scene(node("ada"))
    pool.submit(12, disk_mb=1000)
    assert not pool.wait(LONG_S - 1)
    (line,) = pool.wait(30)
    assert line.startswith("harbor: 12 jobs wait: node ada sees 480 MiB free in the working directory")
    assert "the job needs 1000" in line and "harbor explain" in line
    # Another number each second is no other reason.
    for free in range(100, 400):
        assert not pool.wait(1, ev.LoadMeasured("ada", replace(IDLE, workdir_free_mb=free)))


def test_another_reason_is_reported_but_at_most_once_per_minute(scene):
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


def test_jobs_that_wait_for_our_own_jobs_give_no_warning(scene):
    pool = scene(node("ada"), node("grace"))
    pool.submit(10)
    (line,) = pool.wait(600)
    assert "6 jobs wait" in line and "has 0 of 2 slots free" in line
    assert pool.lines[0].levelno == logging.INFO


def test_nothing_is_reported_while_no_job_waits(scene):
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


def test_jobs_that_wait_for_a_silent_node_are_reported(scene):
    pool = scene(node("ada"))
    pool.handle(ev.HostListChanged((node("ada"), node("gone"))), ev.NodeDown("gone", "no route"))
    specs = (JobSpec("run/1", Request(), earlier_ids=("old/1",)),)
    pool.handle(ev.Submitted(specs))
    (line,) = pool.wait(60)
    assert "1 job waits: node gone does not answer, and may still run it since an earlier run" in line
