"""Rules with `cache:`, whose outputs go to Snakemake's between-workflow cache and come from there."""

import pytest

from tests.snakemake.harness import on
from tests.sshd import wait_until

CACHED = """
    rule all:
        input: expand("big/{i}", i=range(6)), expand("small/{i}", i=range(12))

    rule big:
        output: "big/{i}"
        cache: True
        params: "{i}"
        priority: 9
        shell: "echo {params[0]} >> effects; echo {params[0]} > {output}"

    rule small:
        output: "small/{i}"
        shell: "echo > {output}"
"""
# Imported by Snakemake's interpreter at its start: moves into the cache take until the file `go` is there.
SLOW = """
import os, shutil, threading, time

move = shutil.move

def slow(source, target, *args, **options):
    if threading.current_thread().name == "harbor-store":
        open("moving", "a").write("x")
        while not os.path.exists("go"):
            time.sleep(0.02)
    return move(source, target, *args, **options)

shutil.move = slow
"""


def test_outputs_are_stored_and_fetched(project, pool, tmp_path):
    (tmp_path / "cache").mkdir()
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache")}
    first = project(CACHED, "first")
    first.run(*on(pool, "4/node1"), "--cache", env=env).expect(0)
    assert len(list((tmp_path / "cache").iterdir())) == 6 and (first.directory / "big/3").is_symlink()
    second = project(CACHED, "second")
    second.run(*on(pool, "4/node1"), "--cache", env=env).expect(0)
    assert [(second.directory / f"big/{i}").read_text() for i in range(6)] == [f"{i}\n" for i in range(6)]
    assert not (second.directory / "effects").exists()
    second.run(*on(pool, "4/node1"), "--cache", "--forceall", env=env).expect(0)
    assert (second.directory / "big/3").read_text() == "3\n"


@pytest.mark.parametrize("names", [(), ("all",)], ids=["all rules", "by name"])
def test_so_are_those_of_a_rule_that_a_snakemake_on_the_node_runs(project, pool, tmp_path, names):
    (tmp_path / "cache").mkdir()
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache")}
    for name in ("first", "second"):
        work = project(
            """
            rule all:
                output: "made/out"
                cache: True
                params: x=3
                run:
                    open("effects", "w").close()
                    with open(output[0], "w") as f:
                        print(params.x, file=f)
            """,
            name,
        )
        work.run(*on(pool, "node1"), "--cache", *names, env=env).expect(0)
        assert (work.directory / "made/out").read_text() == "3\n"
        assert (work.directory / "effects").exists() == (name == "first")


def test_a_slow_cache_delays_no_other_report(project, pool, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}
    work = project(CACHED)
    run = work.start(*on(pool, "4/node1"), "--cache", env=env)
    try:
        run.until(r"(?s)(Finished jobid: \d+ \(Rule: small\).*){12}", 40)
        wait_until(lambda: work.files("moving"), 20, "the first move")
        assert "(Rule: big)" not in "".join(line for line in run.text.splitlines() if "Finished" in line)
    finally:
        (work.directory / "go").touch()
    run.wait(60)
    run.expect(0)
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_a_cache_that_cannot_be_written_fails_the_job(project, pool, tmp_path):
    work = project(CACHED)
    env = {"SNAKEMAKE_OUTPUT_CACHE": str(tmp_path / "missing")}
    run = work.run(*on(pool, "4/node1"), "--cache", "--keep-going", env=env).expect(1)
    assert "its result could not be processed" in run.text and len(work.files("small/*")) == 12, run.text
