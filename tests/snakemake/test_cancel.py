"""`harbor cancel`: jobs that run, that wait and that Snakemake has not handed over yet end, and are not retried."""

import json

from tests.snakemake.harness import jobs_of, on
from tests.sshd import wait_until

CASES = [f"c{number}" for number in range(9)]
SWEEP = """
    import os
    TOP = os.getcwd()

    rule all:
        input: expand("post/{case}", case=[f"c{number}" for number in range(9)]), "other/1"

    rule slow_run:
        output: "out/{case}"
        params: top=TOP
        retries: 2
        shell: "echo {wildcards.case} >> tries; until [ -e {params.top}/go ]; do sleep 0.1; done; touch {output}"

    rule slow_post:
        input: "out/{case}"
        output: "post/{case}"
        shell: "touch {output}"

    rule other:
        output: "other/{number}"
        priority: -1
        shell: "touch {output}"
"""


def tries(work):
    path = work.directory / "tries"
    return path.read_text().split() if path.exists() else []


def test_cancelled_cases_end_and_the_others_go_on(project, pool):
    work = project(SWEEP)
    (work.directory / "out").mkdir()
    for case in CASES:
        (work.directory / "out" / case).write_text("an old result")
    again = ("--forcerun", "slow_run", "--keep-going", "--scheduler", "harbor")
    run = work.start(*on(pool, "2/node1"), *again, "--envvars", "HARBOR_TEST", env={"HARBOR_TEST": "cancel"})
    wait_until(lambda: len(tries(work)) == 2, 30, "two jobs that run")
    running, waiting = tries(work), [case for case in CASES if case not in tries(work)]
    wait_until(lambda: len(json.loads(work.harbor("status", "--json").stdout)["jobs"]) >= 4, 10, "jobs that wait")
    handed_over = {job["wildcards"].get("case") for job in json.loads(work.harbor("status", "--json").stdout)["jobs"]}
    queued = next(case for case in waiting if case in handed_over)
    later = next(case for case in waiting if case not in handed_over)

    told = work.harbor("explain", later).stderr
    assert all(f"(slow_{step} case={later})" in told for step in ("run", "post")) and "yet. It waits for inputs" in told
    told = work.harbor("cancel", "slow_run").stderr
    assert "jobs have the name 'slow_run', so none was cancelled" in told and "harbor cancel --rule slow_run" in told
    assert "Did you mean" in work.harbor("cancel", running[0], "slow_rum").stderr
    answer = work.harbor("cancel", running[0], f"slow_run:{queued}", f"case={later}", "--rule", "other", "--json")
    shown = {(job["rule"], *job["wildcards"].values()) for job in json.loads(answer.stdout)["jobs"]}
    assert shown == {
        *((rule, case) for rule in ("slow_run", "slow_post") for case in (running[0], later)),
        ("slow_run", queued),
        ("other", "1"),
    }
    wait_until(lambda: len(jobs_of("cancel")) and len(tries(work)) == 3, 20, "another case in its place")
    why = work.harbor("explain", running[0]).stdout
    assert "cancelled on node1: cancelled by the user" in why and "attempt 2" not in why
    assert "cancelled by the user" in work.harbor("status", running[0]).stdout
    (work.directory / "go").touch()
    run.wait()
    run.expect(1)

    cancelled = {running[0], queued, later}
    assert set(work.files("post/*")) == set(CASES) - cancelled and not work.files("other/*")
    assert tries(work).count(running[0]) == 1 and not {queued, later} & set(tries(work)), "nothing is retried"
    assert run.text.count("cancelled by the user\n") == 4 and "Trying to restart" not in run.text
    assert set(work.files("out/*")) == set(CASES) - {running[0]}, "what has not started keeps its old results"
    counts = json.loads(work.harbor("status", "--json").stdout)["counts"]
    assert counts["cancelled"] == 4 and "failed" not in counts
    told = work.harbor("status").stdout
    assert f"(slow_run case={running[0]}) on node1: cancelled by the user" in " ".join(told.split())
    assert "no run goes on here" in work.harbor("cancel", "c1").stderr


def test_without_keep_going_a_cancelled_job_ends_the_run(project, pool):
    work = project(SWEEP)
    run = work.start(*on(pool, "1/node1"), "--scheduler", "harbor", "out/c1", "out/c2", "other/1")
    wait_until(lambda: len(tries(work)) == 1, 30, "a job that runs")
    assert "no other job is started" in work.harbor("cancel", *tries(work)).stdout
    run.wait()
    run.expect(1)
    assert len(tries(work)) == 1 and not work.files("other/*")
