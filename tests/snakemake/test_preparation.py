"""One job's slow preparation does not delay other jobs, and a run that ends does not wait for it."""

import signal
import textwrap
import time

import pytest

from tests.snakemake.harness import on, processes_in, setting
from tests.sshd import wait_until

FAST = """
    import os, time

    def gate(*_):
        # Snakemake calls it once more for a job whose input was made in this run.
        if os.path.exists("early"):
            open("waits", "a").write("x")
        while os.path.exists("early") and not os.path.exists("go"):
            time.sleep(0.02)
        return "x"

    rule all:
        input: expand("second/{i}", i=range(6)), expand("slow/{i}", i=range(int(config.get("count", 1))))

    rule early:
        output: "early"
        priority: 9
        shell: "echo > {output}"

    rule first:
        output: "first/{i}"
        shell: "echo > {output}"

    rule second:
        input: "first/{i}"
        output: "second/{i}"
        shell: "echo > {output}"

"""
SLOW = {
    "params": """
        rule slow:
            input: "early"
            output: "slow/{i}"
            params: gate
            priority: 9
            shell: "echo {params[0]} > {output}"
    """,
    "params of a script": """
        rule slow:
            input: "early"
            output: "slow/{i}"
            params: gate
            priority: 9
            script: "slow.sh"
    """,
    "input that is missing": """
        rule remove:
            output: "removed"
            priority: 9
            shell: "rm needed; echo > {output}"

        rule slow:
            input: "removed", "needed"
            output: "slow/{i}"
            priority: 9
            shell: "echo > {output}"
    """,
    "command factory": """
        rule slow:
            output: "slow/{i}"
            priority: 9
            shell: "echo > {output}"
    """,
}
FACTORY = """
import os, time

def command(context):
    if context.job_name == "slow":
        open("waits", "a").write("x")
        while not os.path.exists("go"):
            time.sleep(0.02)
    return context.command
"""
SOONER = setting("run.prepare_threads.REPORT_SLOW_S", 1.0) + setting("run.prepare_threads.REPORT_AGAIN_S", 2.0)


def make(project, kind):
    work = project(textwrap.dedent(FAST) + textwrap.dedent(SLOW[kind]))
    here = work.directory
    (here / "slow.sh").write_text('echo > "${snakemake_output[0]}"\n')
    (here / "factory.py").write_text(FACTORY)
    options = ["--latency-wait", "30"]
    if kind == "command factory":
        options += ["--harbor-command-factory", "factory.py:command"]
    elif kind == "input that is missing":
        (here / "needed").touch()
    return work, options


def let_go(work):
    (work.directory / "needed").touch()
    (work.directory / "go").touch()


@pytest.mark.parametrize("kind", SLOW)
def test_fast_jobs_end_while_a_slow_one_is_prepared(project, pool, kind):
    work, options = make(project, kind)
    run = work.start(*on(pool, "4/node1"), *options)
    try:
        wait_until(lambda: len(work.files("second/*")) == 6 or run.code is not None, 40, "the end of the fast jobs")
        wait_until(lambda: "Waiting at most" in run.text or work.files("waits") or run.code is not None, 40, "the wait")
        assert run.code is None and not work.files("slow/*"), run.text
    finally:
        let_go(work)
    run.wait(60)
    run.expect(0)
    assert work.files("slow/*") == ["0"]


def test_many_slow_jobs_of_one_rule_leave_threads_to_the_others(project, pool):
    work, options = make(project, "command factory")
    run = work.start(*on(pool, "40/node1"), *options, "--config", "count=30")
    try:
        wait_until(lambda: len(work.files("second/*")) == 6 or run.code is not None, 40, "the end of the fast jobs")
        assert len((work.directory / "waits").read_text()) < 10
    finally:
        let_go(work)
    run.wait(60)
    run.expect(0)
    assert len(work.files("slow/*")) == 30


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("params", "its params may be slow functions"),
        ("input that is missing", "it waits for its input needed (--latency-wait 30)"),
        ("command factory", "factory.py:command is called"),
    ],
)
def test_a_slow_preparation_is_told_of(project, pool, kind, said):
    work, options = make(project, kind)
    run = work.start(*on(pool, "4/node1"), *options, before=SOONER)
    try:
        run.until(r"harbor: job \d+ \(slow\): preparing for \d+ s: ")
        assert said in run.text
        run.until(r"(?s)(preparing for .*){2}")  # and again
    finally:
        let_go(work)
    run.wait(60)
    run.expect(0)


@pytest.mark.parametrize("kind", ["params", "input that is missing", "command factory"])
def test_ctrl_c_does_not_wait_for_a_preparation(project, pool, kind):
    work, options = make(project, kind)
    run = work.start(*on(pool, "40/node1"), *options, "--config", "count=30")
    begun = time.monotonic()
    try:
        wait_until(lambda: "Waiting at most" in run.text or work.files("waits"), 30, "the slow preparation")
        begun = time.monotonic()
        run.signal(signal.SIGINT)
        run.wait(25)
        assert time.monotonic() - begun < 8, run.text
    finally:
        let_go(work)
    assert run.code == 1 and "Traceback" not in run.text, run.text
    assert not processes_in(work.directory) and not work.files("slow/*")
    # Files of the interrupted preparation do no harm.
    work.run(*on(pool, "40/node1"), *options, "--config", "count=30", "--rerun-incomplete", "--nolock").expect(0)
    assert len(work.files("slow/*")) == 30


@pytest.mark.parametrize("how", ["a failure", "SIGTERM"])
def test_a_run_that_ends_does_not_wait_for_a_preparation(project, pool, how):
    work, options = make(project, "command factory")
    with (work.directory / "Snakefile").open("a") as file:
        file.write("""
rule bad:
    input: "second/0"
    output: "slow/bad"
    shell: "exit 3"
""")
    targets = ["slow/bad"] if how == "a failure" else []
    run = work.start(*on(pool, "4/node1"), *options, "all", *targets)
    try:
        wait_until(lambda: work.files("waits") and len(work.files("second/*")) == 6, 40, "the slow preparation")
        if how == "SIGTERM":
            run.signal(signal.SIGTERM)
        run.wait(25)
    finally:
        let_go(work)
    assert run.code == 1 and "Traceback" not in run.text, run.text
    assert not work.files("slow/*")


@pytest.mark.parametrize("where", ["params", "command factory"])
def test_a_function_that_exits_fails_its_job(project, pool, where):
    work = project(
        """
        import os, sys

        def stop(*_):
            if os.path.exists("early"):
                sys.exit("no such parameter")
            return "x"

        rule all:
            input: "out", "other"

        rule early:
            output: "early"
            shell: "echo > {output}"

        rule bad:
            input: "early"
            output: "out"
            params: PARAMS
            shell: "echo {params[0]} > {output}"

        rule other:
            input: "early"
            output: "other"
            shell: "sleep 1; echo > {output}"
    """.replace("PARAMS", "stop" if where == "params" else "3")
    )
    (work.directory / "factory.py").write_text(
        "import sys\n\ndef command(context):\n"
        "    return sys.exit('no such command') if context.job_name == 'bad' else context.command\n"
    )
    options = ["--harbor-command-factory", "factory.py:command"] if where == "command factory" else []
    run = work.run(*on(pool, "node1"), *options, "--keep-going").expect(1)
    assert "SystemExit: no such" in run.text and "internal error" not in run.text, run.text
    assert not work.files("out")
    if where == "command factory":  # Snakemake's own thread evaluates params again for a failed job, and then ends
        assert work.files("other")


def test_a_node_that_goes_away_meanwhile_does_not_get_the_job(project, pool):
    work, options = make(project, "command factory")
    (work.directory / "factory.py").write_text(FACTORY.replace('write("x")', 'write(context.node_name + " ")'))
    run = work.start(*on(pool, "4/node3", "4/node4"), *options)
    gone = None
    try:
        wait_until(lambda: work.files("waits") and (work.directory / "waits").read_text(), 30, "the slow preparation")
        gone = pool[(work.directory / "waits").read_text().split()[0]]
        gone.drop()
        gone.stop()
        run.until(f"node {gone.name} is not used")
        let_go(work)
        run.wait(60)
        run.expect(0)
        assert set((work.directory / "waits").read_text().split()) == {"node3", "node4"}
    finally:
        let_go(work)
        if gone is not None:
            gone.start()
    assert work.files("slow/*") == ["0"]
