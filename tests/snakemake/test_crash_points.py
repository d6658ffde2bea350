"""kill -9 of the controller before and after each thing that it does: run again, and every job ran once."""

import pytest
from snakemake.persistence.file import FilePersistence

from snakemake_executor_plugin_harbor.executor import Executor
from snakemake_executor_plugin_harbor.jobs.end_reports import EndReports
from snakemake_executor_plugin_harbor.jobs.start_message import StartMessages
from snakemake_executor_plugin_harbor.jobs.submission import Submission
from snakemake_executor_plugin_harbor.remote.links import Links
from snakemake_executor_plugin_harbor.session.ending import Ending
from snakemake_executor_plugin_harbor.store.attempt_notes import AttemptNotes
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir
from tests.snakemake.harness import on

JOBS = """
    rule all:
        input: expand("out/{i}", i=range(6)), "end"

    rule one:
        output: "out/{i}"
        shell: "echo {wildcards.i} >> effects; sleep 0.3; echo done > {output}"

    rule end:
        input: expand("out/{i}", i=range(6))
        output: touch("end")
        shell: "echo end >> effects"
"""
# Run by Snakemake's process at its start: it kills itself at the wanted call.
KILLER = """
import os, signal
from importlib import import_module

module, owner, name, when, number = {point!r}
calls = 0
place = getattr(import_module(module), owner)
real = getattr(place, name)

def die():
    open("killed", "w").close()
    os.kill(os.getpid(), signal.SIGKILL)

def counted(*args, **options):
    global calls
    calls += 1
    if calls == number and when == "before":
        die()
    found = real(*args, **options)
    if calls == number and when == "after":
        die()
    return found

setattr(place, name, counted)
"""
CALLS = [
    (Workdir.write_pointer, 1),
    (Journal.commit, 3),
    (Submission.submit, 1),
    (Executor.submitted, 2),
    (StartMessages._message, 2),
    (AttemptNotes.start, 2),
    (Links.send, 6),
    (EndReports.report, 1),
    (EndReports.report, 4),
    (EndReports.result_recorded, 2),
    (FilePersistence._write_record, 3),
    (Ending.close, 1),
    (Workdir.release, 1),
]
POINTS = [
    (call.__module__, *call.__qualname__.split("."), when, number)
    for call, number in CALLS
    for when in ("before", "after")
]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, (*point[1:3], point[4], point[3]))))
def test_every_job_ran_once(project, pool, point):
    work = project(JOBS)
    options = [*on(pool, "3/node1", "3/node2"), "--scheduler", "harbor", "--rerun-incomplete", "--nolock"]
    first = work.run(*options, before=KILLER.format(point=point))
    assert (work.directory / "killed").exists() and first.code == -9, first.text
    work.run(*options).expect(0)
    effects = sorted((work.directory / "effects").read_text().split())
    assert effects == ["0", "1", "2", "3", "4", "5", "end"]
