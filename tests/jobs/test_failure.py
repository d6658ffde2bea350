"""The text of a failed attempt."""

from snakemake_executor_plugin_harbor.core.model import JobState, Outcome
from snakemake_executor_plugin_harbor.jobs.failure import failure_text


def outcome(tail=""):
    return Outcome("run/1", 2, JobState.FAILED, "ada", "exit code 7", {"code": 7, "tail": tail})


def test_reason_node_and_the_last_lines_of_the_output(tmp_path):
    log = tmp_path / "1.2.log"
    log.touch()
    text = failure_text(outcome("".join(f"line {number}\n" for number in range(30))), str(log))
    lines = text.splitlines()
    assert lines[0] == "harbor: attempt 2 on ada: exit code 7" and lines[1] == "  the end of its output:"
    assert lines[2] == "    line 10" and lines[-2] == "    line 29"
    assert lines[-1] == f"  all of its output: {log}"


def test_no_output_and_no_log(tmp_path):
    assert failure_text(outcome(), str(tmp_path / "gone.log")) == "harbor: attempt 2 on ada: exit code 7"


def test_control_characters_of_a_job_do_not_reach_the_terminal():
    assert "\x1b" not in failure_text(outcome("\x1b[31mred\n"), None)
