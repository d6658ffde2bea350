"""The options of a Snakemake on a node that Snakemake's own form would lose."""

import base64
import os
import shlex
import sys

import pytest

from snakemake_executor_plugin_harbor.jobs import snakemake_command as spawned

RULE = 'rule one:\n    output: "one"\n    threads: 3\n    shell: "touch {output}"\n'


def options(workflow, job=None):
    """The options that we add, by name; values decoded. With `job`, those of the job."""
    found: dict[str, list[str]] = {}
    text = spawned.default_resources(workflow, job) if job else spawned.general_arguments(workflow)
    for word in shlex.split(text):
        if word.startswith("--"):
            name = word
        else:
            start = "base64//"
            text = base64.b64decode(word.removeprefix(start)).decode() if word.startswith(start) else word
            found.setdefault(name, []).append(text)
    return found


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("mem_mb=300", "mem_mb=300"),
        ("mem_mib=1000", "mem_mb=1048"),
        ("mem_mib=1000*attempt", "mem_mib=1000*attempt"),
        ("mem='2GB' if attempt == 1 else '4GB'", "mem='2GB' if attempt == 1 else '4GB'"),
        ("slurm_account='a b'", "slurm_account='a b'"),
    ],
)
def test_default_resources_mean_the_same_on_the_node(load, default, expected):
    from snakemake.resources import Resources

    workflow = load(RULE, default=[default])
    job = next(iter(workflow.dag.jobs))
    passed = options(workflow, job)["--default-resources"]
    assert expected in passed
    here = job.resources
    there = Resources.parse(passed, allow_expressions=True, defaults="full")
    workflow.get_rule("one").resources = there
    there["_cores"] = 3
    again = workflow.get_rule("one").expand_resources(job.wildcards_dict, job.input, 1)
    assert {k: again[k] for k in ("mem_mb", "mem_mib", "disk_mb")} == {
        k: here[k] for k in ("mem_mb", "mem_mib", "disk_mb")
    }


def test_set_resources_mean_the_same_on_the_node(load):
    from snakemake.resources import Resources

    given = {"one": Resources.parse(["mem_mib=1000", "disk=200*attempt"], allow_expressions=True)}
    assert set(options(load(RULE, given=given))["--set-resources"]) == {"one:mem_mb=1048", "one:disk=200*attempt"}


def test_config_files_are_named_in_full(load, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\n")
    assert options(load(RULE, configfiles=[path]))["--configfiles"] == [str(path)]


def test_the_directory_is_named_where_it_was_given(load, tmp_path):
    workflow = load(RULE)
    assert options(workflow)["--directory"] == [os.getcwd()] == [str(tmp_path / "work")]
    workflow.overwrite_workdir = None
    assert "--directory" not in options(workflow)


def test_cores_are_those_of_the_job_unless_the_user_limits_them(load):
    job = next(iter(load(RULE).dag.jobs))
    assert spawned.cores(job.rule.workflow, job) == 3
    job = next(iter(load(RULE, cores=7).dag.jobs))
    assert spawned.cores(job.rule.workflow, job) == 7


def test_a_node_needs_the_snakefile(load, tmp_path):
    assert spawned.needs(load(RULE)) == (sys.executable, str(tmp_path / "work" / "Snakefile"))
