"""Outputs that are missing, the state of an earlier try, and the reset before a retry."""

from pathlib import Path

import pytest
from snakemake.settings.types import SharedFSUsage

from snakemake_executor_plugin_harbor.snakemake_internals import job as internals

RULES = """
    rule one:
        output: "{name}.out", touch("{name}.touched"), update("{name}.updated")
        shadow: "minimal"
        shell: "touch {output}"

    rule all:
        default_target: True
        input: "a.out"
"""


@pytest.fixture
def workflow(load, tmp_path, monkeypatch):
    workflow = load(RULES)
    monkeypatch.chdir(tmp_path / "work")
    return workflow


@pytest.fixture
def job(workflow):
    return next(job for job in workflow.dag.jobs if job.rule.name == "one")


def test_outputs_are_missing_until_they_are_there_except_touched_ones(job):
    assert internals.missing_outputs(job) == ["a.out", "a.updated"]
    Path("a.out").touch()
    Path("a.updated").symlink_to("nowhere")
    assert internals.missing_outputs(job) == [], "a link that leads nowhere is there"


def test_the_outputs_of_a_shadow_job_are_in_its_shadow_directory(job, tmp_path):
    for name in ("a.out", "a.updated"):
        (tmp_path / name).touch()
    assert internals.missing_outputs(job, str(tmp_path)) == []
    assert internals.missing_outputs(job) == ["a.out", "a.updated"] and job.shadow_dir is None
    internals.continue_earlier(job, 3, str(tmp_path))
    assert internals.missing_outputs(job) == [] and internals.shadow_directory(job) == str(tmp_path)
    assert job.attempt == 3 and internals.shadow_depth(job) == "minimal"


def test_outputs_that_are_not_shared_are_never_missing(workflow, job):
    workflow.storage_settings.shared_fs_usage = SharedFSUsage.all() - {SharedFSUsage.INPUT_OUTPUT}
    assert internals.missing_outputs(job) == []


def test_a_reset_restores_updated_outputs_and_removes_the_shadow_directory(load, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("a.updated").write_text("before")
    workflow = load(RULES)
    job = next(job for job in workflow.dag.jobs if job.rule.name == "one")
    internals.prepare(workflow, job)
    shadow = Path(job.shadow_dir)
    assert shadow.is_dir()
    Path("a.updated").write_text("half")
    internals.undo_preparation(workflow, job)
    assert Path("a.updated").read_text() == "before"
    assert not shadow.exists() and job.shadow_dir is None


def test_wildcards_and_inputs(workflow, job):
    assert internals.wildcards(job) == {"name": "a"}
    target = next(job for job in workflow.dag.jobs if job.rule.name == "all")
    assert internals.wildcards(target) == {} and internals.missing_inputs(target) == ["a.out"]
    assert internals.shadow_depth(target) is None
