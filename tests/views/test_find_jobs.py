"""Jobs of a journal by the names that users give them, and the commands that take such names."""

import json

import pytest

from snakemake_executor_plugin_harbor.cli import main
from snakemake_executor_plugin_harbor.errors import HarborError
from snakemake_executor_plugin_harbor.store import journal_writer
from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.store.journal_writer import Journal
from snakemake_executor_plugin_harbor.store.workdir import Workdir
from snakemake_executor_plugin_harbor.views.find_jobs import find_case, find_jobs, latest_step

JOBS = [("1", "slow_run", "c09"), ("2", "slow_post", "c09"), ("3", "slow_run", "c10"), ("7", "slow_run", "1")]


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """The journal of a run that has ended, and its directory as the current one."""
    monkeypatch.setattr(journal_writer, "runs_directory", lambda: tmp_path / "runs")
    (tmp_path / "runs").mkdir()
    journal = Journal("run")
    workdir = Workdir(tmp_path, "run")
    workdir.acquire()
    workdir.write_pointer(journal.path)
    journal.set_facts(run="run", total=40, started=0.0, ended=99.0, state="ended", lost_after=120, fence_wait=90)
    for jobid, rule, case in JOBS:
        journal.add_job(f"run/{jobid}", jobid, rule, {"case": case}, 1, float(jobid))
        log = tmp_path / f"{jobid}.log"
        log.write_text(f"output of {jobid}\n")
        for at, state in enumerate(("queued", "running", "failed" if case == "c10" else "succeeded")):
            reason = "exit code 7" if state == "failed" else ""
            journal.add_change(f"run/{jobid}", 1, state, "ada", reason, float(jobid) + at, str(log))
    journal.commit()
    workdir.release()
    monkeypatch.chdir(tmp_path)
    yield journal
    journal.close()


def test_a_case_is_its_steps_and_the_last_one_that_began(journal, tmp_path):
    rows = find_case(open_run(tmp_path), "c09", "harbor log")
    assert [row["jobid"] for row in rows] == ["1", "2"] and latest_step(rows)["jobid"] == "2"


def test_a_job_that_was_adopted_and_retried_is_one_job(journal, tmp_path):
    journal.add_job("old/3", "3", "slow_run", {"case": "c10"}, 1, 2.0)
    journal.commit()
    (row,) = find_jobs(open_run(tmp_path), "c10")
    assert row["id"] == "run/3"


def test_an_ambiguous_name_lists_the_jobs_and_a_name_that_is_none(journal, tmp_path):
    with pytest.raises(HarborError) as caught:
        find_case(open_run(tmp_path), "slow_run", "harbor log")
    assert str(caught.value).splitlines() == [
        "3 jobs have the name 'slow_run':",
        "  1  slow_run case=c09  succeeded",
        "  3  slow_run case=c10  failed",
        "  7  slow_run case=1    succeeded",
        "  Try: harbor log slow_run:1",
    ]


def test_a_wrong_name_is_answered_with_similar_ones(journal, tmp_path):
    with pytest.raises(HarborError, match=r"no job 'c90'. Did you mean c10 or c09\?"):
        find_jobs(open_run(tmp_path), "c90")


def test_the_commands_take_names(journal, capsys):
    assert main(["log", "c09"]) == 0
    assert capsys.readouterr().out == "output of 2\n"
    assert main(["log", "slow_run:c09"]) == 0
    assert capsys.readouterr() == ("output of 1\n", "")
    assert main(["log", "1"]) == 0
    assert capsys.readouterr() == (
        "output of 1\n",
        "harbor: 1 is the number of a job. The case: harbor log slow_run:1\n",
    )
    assert main(["explain", "c09"]) == 0
    told = capsys.readouterr().out
    assert "job 1: rule slow_run case=c09" in told and "job 2: rule slow_post case=c09" in told
    assert main(["explain", "c09", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["id"] == "2" and [step["id"] for step in told["steps"]] == ["1", "2"]
    assert main(["explain", "nothing"]) == 1 and "Try: harbor status" in capsys.readouterr().err


def test_status_names_the_case_of_a_failed_job_and_shows_ended_jobs_by_name(journal, capsys):
    assert main(["status"]) == 0
    assert "failed: job 3 (slow_run case=c10) on ada: exit code 7" in capsys.readouterr().out
    assert main(["status", "c10", "slow_post:c09"]) == 0
    told = capsys.readouterr().out
    assert "3 failed" not in told and "exit code 7" in told and "slow_post" in told and "case=1" not in told
    assert main(["status", "c10", "c10", "--json"]) == 0
    assert [job["id"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["3"]


def test_explain_says_how_long_a_job_waits_for_a_silent_node(journal, capsys):
    journal.add_change("run/3", 1, "unreachable", "ada", "connection lost", 9e9, None)
    journal.commit()
    assert main(["explain", "c10"]) == 0
    told = capsys.readouterr().out
    assert "ada does not answer" in told and "--harbor-lost-after 120, then --harbor-fence-wait 90" in told
    assert told.endswith("harbor forget ada\n")


@pytest.mark.parametrize("command", [["cancel", "c09"], ["forget", "ada"], ["cancel", "--rule", "slow_run"]])
def test_without_a_run_nothing_can_be_cancelled(journal, capsys, command):
    assert main(command) == 1
    assert "no run goes on here" in capsys.readouterr().err


def test_cancel_wants_a_name(journal, capsys):
    assert main(["cancel"]) == 1
    assert "Try: harbor cancel JOB" in capsys.readouterr().err
