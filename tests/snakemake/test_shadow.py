"""A full shadow directory beside shallow ones, with the same contents as under the local executor."""

import os
from pathlib import Path

from tests.snakemake.harness import on

BESIDE = """
    rule all:
        input: expand("shallow/{i}", i=range(4)), expand("full/{i}", i=range(2)), "here"

    rule shallow:
        output: "shallow/{i}"
        shadow: "shallow"
        priority: 9
        shell: "echo > scrap; sleep 1.5; mv scrap {output}"

    rule early:
        output: "early"
        shell: "sleep 0.5; echo > {output}"

    rule full:
        input: "early"
        output: "full/{i}"
        shadow: "full"
        shell: "echo > scrap; sleep 0.2; mv scrap {output}"

    rule here:
        output: "here"
        localrule: True
        shadow: "full"
        shell: "echo > scrap; mv scrap {output}"
"""
LISTING = """
    rule all:
        output: "listing.txt"
        shadow: "full"
        shell:
            "find . -mindepth 1 ! -name listing.txt ! -name Snakefile ! -name '*.log' ! -path '*harbor*' "
            "-printf '%P %y %m %l\\n' | sed 's#'$(dirname $(dirname $(dirname $PWD)))'##' | sort > {output}"
"""


def test_full_ones_beside_shallow_ones(project, pool):
    for number in range(4):
        work = project(BESIDE, f"project{number}")
        work.run(*on(pool, "8/node1"), timeout=40).expect(0)
        assert len(work.files("full/*")) == 2 and not (work.directory / "scrap").exists()
        assert not work.files(".snakemake/shadow/*")


def test_a_local_one_does_not_move_the_controller(project, pool):
    """All others start, run and end while it runs."""
    work = project("""
        rule all:
            input: "local", expand("out/{i}", i=range(3))

        rule local:
            output: "local"
            localrule: True
            shadow: "minimal"
            shell:
                "pwd > here; "
                "for i in 0 1 2; do until test -e {workflow.basedir}/out/$i; do sleep 0.1; done; done; "
                "mv here {output}"

        rule other:
            output: "out/{i}"
            priority: -1
            shell: "pwd > {output}"
    """)
    work.run(*on(pool, "node1"), timeout=40).expect(0)
    assert [(work.directory / f"out/{i}").read_text() for i in range(3)] == [f"{work.directory}\n"] * 3
    assert ".snakemake/shadow/" in (work.directory / "local").read_text()


def test_a_shallow_one_does_not_lead_to_the_others(project, pool):
    work = project("""
        rule all:
            output: "found"
            shadow: "shallow"
            shell: "ls -A .snakemake > listing; test -e .snakemake/locks; test -e Snakefile; mv listing {output}"
    """)
    work.run(*on(pool, "node1")).expect(0)
    found = (work.directory / "found").read_text().split()
    assert "shadow" not in found and "incomplete" in found


def plant(work):
    """Make files of every kind."""
    here: Path = work.directory
    for name in ("a/b/c", "empty", ".hidden", "with blanks"):
        (here / name).mkdir(parents=True)
    for name in ("a/file", "a/b/c/deep", ".hidden/file", "with blanks/x y", "script.sh"):
        (here / name).write_text(name)
    (here / "script.sh").chmod(0o755)
    (here / "a" / "relative").symlink_to("file")
    (here / "dangling").symlink_to("nowhere")
    (here / "directory").symlink_to("a")
    (here / "absolute").symlink_to(here / "a" / "b")


def test_it_has_the_same_contents_as_the_local_executor_s(project, pool):
    listings = []
    for name, options in (("local", ["--cores", "1"]), ("harbor", on(pool, "node1"))):
        work = project(LISTING, name)
        plant(work)
        work.run(*options).expect(0)
        listings.append((work.directory / "listing.txt").read_text())
    assert listings[0] == listings[1]
    assert "a/b/c/deep l" in listings[0] and "directory/b d" in listings[0]


def test_links_to_a_parent_and_nested_directories_of_snakemake_do_not_matter(project, pool):
    work = project("""
        rule all:
            output: "out"
            shadow: "full"
            shell: "test -e a/b/file; test -e a/up/a/b/file; test ! -e a/.snakemake; echo > {output}"
    """)
    here = work.directory
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "file").touch()
    (here / "a" / "up").symlink_to("..")
    (here / "a" / "b" / "self").symlink_to(".")
    (here / "a" / ".snakemake" / "metadata").mkdir(parents=True)
    (here / "a" / ".snakemake" / "metadata" / "file").touch()
    os.symlink(".snakemake", here / "snakemake")
    work.run(*on(pool, "node1"), timeout=30).expect(0)


def test_shadow_directories_inside_the_working_directory(project, pool):
    """With `--shadow-prefix`, the walk reaches the directory that it makes."""
    work = project(BESIDE.replace(', "here"', ""))
    work.run(*on(pool, "8/node1"), "--shadow-prefix", "scratch", timeout=40).expect(0)
    assert len(work.files("full/*")) == 2
