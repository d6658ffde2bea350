"""Files that Snakemake keeps in the home directory are copied to the working directory."""

import shlex
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.jobs.source_files import MANY_FILES, SourceFiles

RULE = """
    rule one:
        output: "one"
        params: path=workflow.source_path("data file.txt"), plain="x"
        shell: "cat {params.path:q} > {output}"
"""


@pytest.fixture
def workflow(load, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data file.txt").write_text("data\n")
    return load(RULE)


@pytest.fixture
def sources(workflow, tmp_path):
    return SourceFiles(workflow, tmp_path / "work" / ".snakemake" / "harbor" / "sources")


def path_of(workflow):
    return next(iter(workflow.dag.jobs)).params.path


def test_a_source_path_is_moved_wherever_it_stands(workflow, sources, tmp_path):
    old = path_of(workflow)
    assert Path(old).is_relative_to(tmp_path / "home"), "this test is about what lies in the home directory"
    new = sources.for_node(str(old))
    assert Path(new).read_text() == "data\n" and Path(new).is_relative_to(tmp_path / "work")
    params = next(iter(workflow.dag.jobs)).params
    moved = sources.for_node(params)
    assert moved.path == new and moved.plain == "x" and type(moved) is type(params)
    nested = {"a": [old, {"b": (old, Path(old))}], "c": 1}
    assert sources.for_node(nested) == {"a": [new, {"b": (new, Path(new))}], "c": 1}
    assert sources.for_node(f"cat '{old}' > x") == f"cat '{new}' > x"
    assert params.path == old, "Snakemake's own lists stay as they are"


def test_what_has_no_such_path_is_not_copied(workflow, sources):
    job = next(iter(workflow.dag.jobs))
    for value in (job.input, job.wildcards, "text", 3, None, [1, "a"], {"a": 1}):
        assert sources.for_node(value) is value


def test_files_of_a_release_are_copied_when_they_are_named(workflow, sources):
    kept = Path(workflow.sourcecache.cache_path) / "https" / "wrappers" / "0.1.0" / "wrapper.py"
    kept.parent.mkdir(parents=True)
    kept.write_text("wrapped")
    new = sources.for_node(f"python {kept} x").split()[1]
    assert Path(new).read_text() == "wrapped" and new.startswith(str(sources.directory))


def test_what_snakemake_reads_later_is_there_too(workflow, sources, tmp_path):
    (tmp_path / "work" / "later.py").write_text("later")
    from snakemake.sourcecache import infer_source_file

    path = workflow.sourcecache.get_path(infer_source_file(str(tmp_path / "work" / "later.py")))
    assert Path(path).is_relative_to(sources.runtime) and sources.for_node(path) == path


def test_a_long_list_of_files_goes_as_a_file(sources):
    few, many = [f"f {n}" for n in range(3)], [f"f {n}" for n in range(MANY_FILES + 1)]
    assert sources.wait_option(few) == "--wait-for-files 'f 0' 'f 1' 'f 2'"
    option, path = shlex.split(sources.wait_option(many))
    assert option == "--wait-for-files-file" and Path(path).read_text().splitlines() == many
    assert shlex.split(sources.wait_option(many))[1] == path, "the same list is the same file"
    assert sources.wait_option([]) == ""


def test_they_go_when_no_job_needs_them(sources):
    sources.wait_option([str(n) for n in range(200)])
    sources.remove(everything=False)
    assert not sources.runtime.exists() and sources.directory.exists()
    sources.remove(everything=True)
    assert not sources.directory.exists()


def test_a_job_with_a_source_path_is_the_same_job_in_the_next_run(load, tmp_path):
    from snakemake_executor_plugin_harbor.jobs.job_hash import job_hash

    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data file.txt").write_text("data\n")
    text = RULE.replace("    rule one:\n", '    rule one:\n        input: workflow.source_path("data file.txt")\n')
    first, second = (next(iter(load(text).dag.jobs)) for _ in range(2))
    assert first.params.path != second.params.path and str(first.input[0]) != str(second.input[0])
    assert job_hash(first, "id") == job_hash(second, "id")
