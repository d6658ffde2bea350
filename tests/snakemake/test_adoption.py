"""A new controller recognises the jobs of an earlier one, with and without its journal, from all nodes."""

import json
import os
import random
import shutil
import sqlite3
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.snakemake.harness import Run, Workdir, apart, on, processes_in
from tests.sshd import hosts, wait_until

AGAIN = ("--rerun-incomplete", "--nolock")
WAIT = "until [ -e {params.top}/go ]; do sleep 0.1; done; "
EFFECT = "echo {resources.tried} $HARBOR_NODE_NAME $$ >> {params.top}/effects; "
HEAD = """
import os
TOP = os.getcwd()

def tried(wildcards, attempt):
    return attempt

"""
PYTHON = """
import os, time
with open("effects", "a") as file:
    file.write("{attempt} node 0\\n")
while not os.path.exists("go"):
    time.sleep(0.1)
with open({output}, "w") as file:
    file.write("done\\n")
"""
ONE = f"""
rule one:
    output: "out"
    params: top=TOP
    resources: tried=tried
    shell: '{EFFECT}{WAIT} echo done > {{output}}'
"""
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


def make(project, rules: str) -> Workdir:
    target = '\nrule all:\n    input: "out"\n' if '"out"' in rules else ""
    work: Workdir = project(HEAD + target + rules)
    (work.directory / "one.py").write_text(PYTHON.format(attempt=1, output="snakemake.output[0]"))
    return work


def effects(work: Workdir) -> list[list[str]]:
    path = work.directory / "effects"
    return [line.split() for line in path.read_text().splitlines() if line.count(" ") == 2] if path.exists() else []


def crash(work: Workdir, options: Sequence[str], count: int = 1) -> Run:
    """Start a run and kill its controller while its job waits."""
    run = work.start(*options)
    wait_until(lambda: len(effects(work)) == count, 60, f"{count} executions")
    run.kill()
    return run


def finish(work: Workdir, run: Run, code: int = 0) -> None:
    (work.directory / "go").touch()
    run.wait()
    run.expect(code)


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
    """Its first job is done, so the group of the next run is smaller and is another job. The two do not run at once."""
    first = 'rule first:\n    output: "first"\n    group: "both"\n    shell: "touch {output}"\n'
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


def silent_node(work: Workdir, pool, lost_after: int, fence_wait: int = 4, mute=False) -> tuple[Run, list[str], str]:
    """The run that follows a crash, while the node of the job does not answer; the job's effect; the other node.
    `mute`: the job has ended by then, and the word that was left of it is gone.
    """
    settings = ("--harbor-lost-after", str(lost_after), "--harbor-fence-wait", str(fence_wait))
    options = [*apart(pool, work.directory, "1/node1", "1/node2"), *AGAIN, *settings]
    crash(work, options)
    (effect,) = effects(work)
    pool[effect[1]].stop()
    if mute:
        (work.directory / "go").touch()
        wait_until(lambda: work.files(".snakemake/harbor/fence/*.word"), 10, "the word of its end")
        next(work.directory.glob(".snakemake/harbor/fence/*.word")).unlink()
    run = work.start(*options)
    run.until(f"node {effect[1]} is not used")
    return run, effect, {"node1": "node2", "node2": "node1"}[effect[1]]


def test_a_node_that_answers_late_keeps_its_job(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 60)
        reason = "does not answer, and may still run it since an earlier run"
        wait_until(lambda: reason in work.harbor("explain", "one").stdout, 15, "explain")
        assert effects(work) == [effect], "it is not started elsewhere"
        pool[effect[1]].start()
        run.until(f"adopted .* is running on {effect[1]}", 40)
        assert json.loads(work.harbor("status", "--json").stdout)["counts"] == {"running": 1}
        finish(work, run)
    assert effects(work) == [effect]


def test_a_node_that_answers_late_had_finished_its_job(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 60)
        (work.directory / "go").touch()
        wait_until(lambda: work.files("out"), 10, "its output")
        pool[effect[1]].start()
        run.until(f"adopted .* (is running|has ended) on {effect[1]}", 40)
        finish(work, run)
    assert effects(work) == [effect]


def test_a_node_that_answers_while_its_fence_is_waited_for_had_finished_its_job(project, tmp_path):
    """Found by the soak: the job ran again although its end was known before that."""
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, _ = silent_node(work, pool, 2, 40, mute=True)
        wait_until(lambda: "--harbor-fence-wait" in work.harbor("explain", "one").stdout, 20, "the fence")
        pool[effect[1]].start()
        run.until(f"adopted .* has ended on {effect[1]}", 60)
        run.wait()
        run.expect(0)
    assert effects(work) == [effect]


def test_a_node_that_never_answers_is_fenced_before_its_job_runs_elsewhere(project, tmp_path):
    work = make(project, ONE)
    with hosts(2, tmp_path / "sshd") as pool:
        run, effect, other = silent_node(work, pool, 6)
        wait_until(lambda: len(effects(work)) == 2, 40, "the job's new attempt")
        assert not os.path.exists(f"/proc/{effect[2]}"), "the old attempt has ended before"
        finish(work, run)
    assert effects(work)[1][1] == other and len(effects(work)) == 2
    assert (work.directory / "out").read_text() == "done\n"


def lock(work: Workdir, age: float, **changes: object) -> Path:
    """Return a lock of another controller, whose last heartbeat was `age` seconds ago."""
    path = work.directory / ".snakemake/harbor/lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = {"host": "elsewhere", "pid": 4711, "born": time.time() - 99, "boot_id": "b", "run": "250101-000000-abcdef"}
    path.write_text(json.dumps(owner | changes))
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize("torn", [False, True])
def test_a_stale_lock_of_another_machine_is_taken_over(project, pool, torn):
    work = make(project, ONE)
    path = lock(work, 600)
    if torn:
        path.write_text('{"host": "else')
    (work.directory / "go").touch()
    work.run(*on(pool, "node1"), "--nolock").expect(0)
    assert not path.exists()


def test_a_fresh_lock_of_another_machine_refuses(project, pool):
    work = make(project, ONE)
    path = lock(work, 5)
    run = work.run(*on(pool, "node1"), "--nolock").expect(1)
    assert "another harbor controller (process 4711 on elsewhere" in run.text and "Traceback" not in run.text
    assert json.loads(path.read_text())["pid"] == 4711, "the lock is still theirs"
    assert effects(work) == []
