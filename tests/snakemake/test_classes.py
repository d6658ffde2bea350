"""Jobs that must wait do not keep others from idle slots, and what waits says so."""

from tests.snakemake.harness import on
from tests.sshd import wait_until

HEAD_OF_LINE = """
    rule all:
        input: expand("deep/{i}", i=range(12)), expand("plain/{i}", i=range(6))

    rule deep:
        output: "deep/{i}"
        priority: 5
        resources: DEMAND
        shell: "until [ -e go ]; do sleep 0.1; done; touch {output}"

    rule plain:
        output: "plain/{i}"
        shell: "touch {output}"
"""


def hostfile(project, lines):
    path = project.directory / "hosts.yaml"
    path.write_text(lines)
    return str(path)


def check_that_plain_jobs_run(work, run):
    try:
        wait_until(lambda: len(work.files("plain/*")) == 6, 60, "plain jobs, while the deep ones wait")
        assert not work.files("deep/*")
    finally:
        (work.directory / "go").touch()
    run.wait()
    run.expect(0)


def test_jobs_with_a_tag_do_not_keep_plain_ones_from_an_idle_node(project, pool):
    work = project(HEAD_OF_LINE.replace("DEMAND", 'constraint="gpu"'))
    hosts = hostfile(work, "node1: {slots: 1, tags: [gpu]}\nnode2: {slots: 2}\n")
    check_that_plain_jobs_run(work, work.start(*on(pool)[:-2], "--harbor-hostfile", hosts, "--scheduler", "harbor"))


def test_jobs_that_wait_for_a_licence_do_not_keep_plain_ones_from_idle_slots(project, pool):
    work = project(HEAD_OF_LINE.replace("DEMAND", "licence=1"))
    options = (*on(pool, "2/node1"), "--resources", "licence=1", "--scheduler", "harbor")
    check_that_plain_jobs_run(work, work.start(*options))
