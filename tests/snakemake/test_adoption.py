"""A new controller recognises the jobs of an earlier one, with and without its journal."""

import json
import os
import random
import shutil
import sqlite3
import textwrap
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.store.journal_reader import open_run
from snakemake_executor_plugin_harbor.views.status import status
from tests.snakemake.crashed import AGAIN, EFFECT, HEAD, ONE, PYTHON, WAIT, crash, effects, finish, make
from tests.snakemake.harness import Workdir, apart, on, processes_in
from tests.sshd import wait_until

KINDS = {
    "plain": ONE,
    "sets": ONE.replace("top=TOP", "top=TOP, letters={'a', 'b', 'c', 'd', 'e'}"),
    "objects": ONE.replace("top=TOP", "top=TOP, thing=lambda w: {'b': {2, 1}, 'a': [None, 1.5]}"),
    "log": ONE.replace("params:", 'log: "logs/one"\n    params:').replace("shell: '", "shell: 'echo x > {log}; "),
    "shadow": ONE.replace("params:", 'shadow: "minimal"\n    params:').replace("shell: '", "shell: 'touch junk; "),
    "benchmark": ONE.replace("params:", 'benchmark: "times"\n    params:'),
    "repeated": ONE.replace("params:", 'benchmark: repeat("times", 1)\n    params:'),
    "temporary": ONE.replace('"out"', 'temp("between")')
    + '\nrule last:\n    input: "between"\n    output: "out"\n    shell: "cp {input} {output}"\n',
    "no output": ONE.replace('    output: "out"\n', "").replace("> {output}", "> out"),
    "script": 'rule one:\n    output: "out"\n    script: "one.py"\n',
    "run": 'rule one:\n    output: "out"\n    run:\n'
    + textwrap.indent(PYTHON.format(attempt=1, output="output[0]"), " " * 8),
    "group": ONE.replace('"out"', '"first"\n    group: "both"')
    + '\nrule last:\n    input: "first"\n    output: "out"\n    group: "both"\n    shell: "cp {input} {output}"\n',
}


@pytest.mark.parametrize("ended", [False, True], ids=["runs", "ended"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_recognised_and_runs_once(project, pool, kind, ended):
    work = make(project, KINDS[kind])
    options = [*on(pool, "2/node1"), *AGAIN, *(["--rerun-triggers", "mtime"] if kind == "sets" else [])]
    if kind == "no output":
        options.append("one")
    crash(work, options)
    if ended:
        (work.directory / "go").touch()
        result = {"shadow": ".snakemake/shadow/*/out", "temporary": "between"}.get(kind, "out")
        wait_until(lambda: [p for p in work.directory.glob(result) if p.read_text() == "done\n"], 30, "its result")
        wait_until(lambda: not processes_in(work.directory), 10, "its end")
    again = work.start(*options)
    if not (ended and kind in ("run", "group")):  # their own Snakemake on the node has told this one that they are done
        again.until("adopted .* of an earlier run, which (is running|has ended) on node1", 40)
    finish(work, again)
    assert len(effects(work)) == 1
    assert (work.directory / "out").read_text() == "done\n"
    assert not work.files(".snakemake/shadow/*") and not work.files("junk") and not work.files(".snakemake/scripts/*")
    if "benchmark" in KINDS[kind]:
        assert len((work.directory / "times").read_text().splitlines()) == 2
    if kind == "plain":
        now = status(open_run(work.directory))
        assert now["started"] - 60 < now["jobs"][0]["started"] < now["started"], "the first run has started it"
    if kind in ("plain", "shadow", "temporary", "group"):
        assert "Nothing to be done" in work.run(*options).expect(0).text


def test_a_benchmark_that_is_repeated_runs_to_its_end(project, pool):
    """The agent that started the job goes on with the repeats. Another agent reports them to the new controller."""
    rule = ONE.replace("params:", 'benchmark: repeat("times", 3)\n    params:').replace(
        "echo done", "sleep 2; echo done"
    )
    work = make(project, rule)
    options = [*on(pool, "2/node1"), *AGAIN]
    crash(work, options)
    again = work.start(*options)
    again.until("adopted", 40)
    finish(work, again)
    assert len(effects(work)) == 3
    assert len((work.directory / "times").read_text().splitlines()) == 4


def test_what_runs_of_a_group_ends_before_the_rest_of_it_starts(project, pool):
    """A Snakemake on the node runs it. Its first job is done, so the group of the next run is smaller. That is another
    job, and the two do not run at once.
    """
    first = 'rule first:\n    output: "first"\n    group: "both"\n    shadow: "minimal"\n    shell: "touch {output}"\n'
    params = 'input: "first"\n    group: "both"\n    params:'
    work = make(project, first + ONE.replace("params:", params))
    options = [*on(pool, "2/node1"), *AGAIN]
    crash(work, options)
    again = work.start(*options)
    wait_until(lambda: len(effects(work)) == 2, 40, "the job's new execution")
    assert not os.path.exists(f"/proc/{effects(work)[0][2]}"), "the old one has ended before"
    finish(work, again)
    assert len(effects(work)) == 2
    assert not work.files(".snakemake/harbor/started")


def test_a_record_of_a_finished_run_is_no_result_for_a_forced_one(project, pool):
    for kind in ("run", "plain"):
        work: Workdir = make(lambda rules, kind=kind: project(rules, kind), KINDS[kind])
        options = [*on(pool, "2/node1"), *AGAIN]
        crash(work, options)
        (work.directory / "go").touch()
        wait_until(lambda work=work: work.files("out"), 30, "its output")
        work.run(*options).expect(0)
        forced = work.run(*options, "--forceall").expect(0)
        assert "adopted" not in forced.text and len(effects(work)) == 2


@pytest.mark.parametrize("retries", [1, 2])
def test_an_adopted_job_keeps_its_attempt_number(project, pool, retries):
    """The controller is killed during the second attempt of retries + 1, and that attempt then fails."""
    shell = EFFECT + "[ {resources.tried} != 1 ] || exit 1; " + WAIT + "[ {resources.tried} = 3 ] && touch {output}"
    work = make(project, ONE.replace("params:", f"retries: {retries}\n    params:").split("    shell:")[0])
    snakefile = work.directory / "Snakefile"
    snakefile.write_text(snakefile.read_text() + f"    shell: '{shell}'\n")
    options = [*on(pool, "2/node1"), *AGAIN]
    crash(work, options, 2)
    again = work.start(*options)
    again.until("adopted", 30)
    finish(work, again, 0 if retries == 2 else 1)
    assert [int(effect[0]) for effect in effects(work)] == list(range(1, retries + 2))


def test_all_rules_at_once_after_two_crashes(project, pool):
    """Two controllers with many jobs are killed, and a third one takes all jobs over."""
    rule = ONE.replace('"out"', '"outs/{i}"').replace("echo {resources.tried}", "echo {wildcards.i}")
    work: Workdir = project(f"{HEAD}\nrule all:\n    input: expand('outs/{{i}}', i=range(12))\n{rule}")
    options = [*apart(pool, work.directory, "3/node1", "3/node2", "3/node3", "3/node4"), *AGAIN]
    crash(work, options, 12)
    second = work.start(*options)
    second.until(r"(adopted(.|\n)*){12}")
    second.kill()
    third = work.start(*options)
    third.until(r"(adopted(.|\n)*){12}")
    finish(work, third)
    assert sorted(int(effect[0]) for effect in effects(work)) == list(range(12))
    assert len(work.files("outs/*")) == 12


def journal(work: Workdir) -> Path:
    return Path(json.loads((work.directory / ".snakemake/harbor/run.json").read_text())["journal"])


def scramble(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(max(4096, path.stat().st_size)))


def spoil(work: Workdir, how: str) -> None:
    path, pointer = journal(work), work.directory / ".snakemake/harbor/run.json"
    match how:
        case "gone":
            shutil.rmtree(path.parent)
        case "torn":
            for file in path.parent.glob("journal.sqlite*"):
                scramble(file)
        case "half":  # the first page of the database is complete
            sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            whole = path.read_bytes()
            path.write_bytes(whole[:4096] + random.Random(1).randbytes(len(whole) - 4096))
        case "empty":
            for file in path.parent.glob("journal.sqlite*"):
                file.write_bytes(b"")
        case "older":
            with sqlite3.connect(path) as db:
                db.execute("PRAGMA user_version=0")
                db.execute("ALTER TABLE jobs DROP COLUMN threads")
        case "pointer torn":
            pointer.write_text(pointer.read_text()[:20])
        case "pointer random":
            scramble(pointer)
        case "pointer list":
            pointer.write_text("[1, 2]")
        case "pointer gone":
            pointer.unlink()


SPOILT = ["gone", "torn", "half", "empty", "older", "pointer torn", "pointer random", "pointer list", "pointer gone"]


@pytest.mark.parametrize("how", SPOILT)
def test_without_its_journal_a_run_is_taken_over_all_the_same(project, pool, how):
    work = make(project, ONE)
    options = [*on(pool, "2/node1"), *AGAIN]
    crash(work, options)
    spoil(work, how)
    for command in (["status"], ["explain", "1"], ["log", "1"], ["detach"]):
        told = work.harbor(*command)
        assert told.returncode == 1 and not told.stdout, command
        assert "Traceback" not in told.stderr
        first, *hints = told.stderr.splitlines()
        assert first.startswith("harbor: ") and len(hints) <= 1, "one line that says it, one that says what to type"
    again = work.start(*options)
    again.until("adopted", 30)
    assert json.loads(work.harbor("status", "--json").stdout)["state"] == "running"
    finish(work, again)
    assert len(effects(work)) == 1
