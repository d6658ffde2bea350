"""The place of an attempt, the command factory, and the names of logs."""

from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.jobs.launch_context import LaunchContext, apply_factory, load_factory, log_path

CONTEXT = LaunchContext(
    node_name="ada",
    node_id=1,
    local_id=2,
    proc_id=7,
    nnodes=3,
    cpus_on_node=16,
    threads=4,
    job_name="align",
    job_id="12",
    attempt=2,
    output_dir=Path("/work/.snakemake/harbor_logs/align"),
    command="echo",
    wildcards={"sample": "a b"},
    gpus=(1, 3),
)


def test_the_environment_has_the_documented_variables():
    assert CONTEXT.environment() == {
        "HARBOR_NODE_NAME": "ada",
        "HARBOR_NODE_ID": "1",
        "HARBOR_LOCAL_ID": "2",
        "HARBOR_PROC_ID": "7",
        "HARBOR_NNODES": "3",
        "HARBOR_CPUS_ON_NODE": "16",
        "HARBOR_THREADS": "4",
        "HARBOR_JOB_NAME": "align",
        "HARBOR_JOB_ID": "12",
        "HARBOR_ATTEMPT": "2",
        "HARBOR_OUTPUT_DIR": "/work/.snakemake/harbor_logs/align",
        "CUDA_VISIBLE_DEVICES": "1,3",
    }


def test_a_job_without_gpus_sees_none():
    assert LaunchContext("a", 0, 0, 0, 1, 1, 1, "r", "1", 1, Path("/")).environment()["CUDA_VISIBLE_DEVICES"] == ""


def test_the_documented_table_names_the_variables():
    text = "".join(path.read_text() for path in Path(__file__).parents[2].glob("docs/*.md"))
    assert [name for name in CONTEXT.environment() if name not in text] == []


def test_a_factory_is_loaded(tmp_path):
    file = tmp_path / "launch: it.py"
    file.write_text("def command(context):\n    return f'nice {context.command}'\n")
    assert load_factory(f"{file}:command")(CONTEXT) == "nice echo"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("launch.py", "expected FILE.py:FUNC"),
        ("launch.py:", "expected FILE.py:FUNC"),
        ("launch.py:not a name", "expected FILE.py:FUNC"),
        ("missing.py:command", "there is no file"),
        (".:command", "there is no file"),
        ("launch.txt:command", "is not a Python file"),
        ("broken.py:command", "broken.py does not import: SyntaxError"),
        ("raising.py:command", "raising.py does not import: ZeroDivisionError: division by zero"),
        ("exiting.py:command", "exiting.py does not import: SystemExit"),
        ("launch.py:other", "launch.py has no function other"),
        ("launch.py:value", "launch.py has no function value"),
    ],
)
def test_a_factory_that_cannot_be_loaded_is_refused_in_one_sentence(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    Path("launch.py").write_text("value = 3\n\ndef command(context):\n    return context.command\n")
    Path("launch.txt").write_text("")
    Path("broken.py").write_text("def command(:\n")
    Path("raising.py").write_text("1 / 0\n")
    Path("exiting.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(HarborError) as raised:
        load_factory(text)
    assert said in str(raised.value) and f"--harbor-command-factory {text}" in str(raised.value)


LOGS = Path("/logs")


def test_the_log_of_an_attempt():
    assert log_path(LOGS, "align", {"sample": "a", "lane": "1"}, "12", 2) == LOGS / "align/sample=a,lane=1/12.2.log"
    assert log_path(LOGS, "align", {}, "12", 2) == LOGS / "align/12.2.log"


@pytest.mark.parametrize(
    "value", ["a/b", "../../etc", "a b", "ä\n\x00", "x" * 5000, "\udcff", "'\"$(rm)`", ".", "..", "-", ""]
)
def test_the_name_of_a_log_is_valid_on_every_filesystem(value):
    path = log_path(LOGS, "align", {"sample": value}, "12", 1)
    assert path.parent.parent == LOGS / "align" and path.name == "12.1.log"
    assert path.parent.name.isascii() and len(path.parent.name) <= 150 and path.parent.name.isprintable()


@pytest.mark.parametrize("rule", ["group_a_b", "../up", "a/b", "x" * 400, ".."])
def test_the_directory_of_a_rule_or_group_is_valid_on_every_filesystem(rule):
    """Names of groups are the user's, and hold their rules' names."""
    path = log_path(LOGS, rule, {}, "12", 1)
    assert path.parent.parent == LOGS and len(path.parent.name) <= 200


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        (lambda context: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda context: exit(3), "raised SystemExit: 3"),
        (lambda context: None, "returned None for job align"),
        (lambda context: "  ", "returned '  ' for job align"),
    ],
)
def test_a_factory_that_returns_no_command_fails_the_job_in_one_sentence(factory, said):
    with pytest.raises(HarborError) as raised:
        apply_factory(factory, "launch.py:command", CONTEXT)
    assert said in str(raised.value) and "--harbor-command-factory launch.py:command" in str(raised.value)
    assert "job align" in str(raised.value)
