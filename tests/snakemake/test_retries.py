"""With `--retries`, the next try of a job that failed on a node goes to another node."""

import pytest

from tests.snakemake.harness import on

FAILING = """
    rule all:
        output: "out"
        retries: 1
        shell:
            "test -e bad || echo $HARBOR_NODE_NAME > bad; "
            "echo $HARBOR_NODE_NAME $HARBOR_ATTEMPT >> tries; "
            "if [ $(cat bad) = $HARBOR_NODE_NAME ]; then HOW; fi; echo > {output}"
"""


@pytest.mark.parametrize("how", ["exit 1", "exit 0", "kill -9 $$"], ids=["exit code", "no outputs", "signal"])
def test_a_retry_goes_to_another_node(project, pool, how):
    work = project(FAILING.replace("HOW", how))
    work.run(*on(pool, "2/node1", "2/node2"), "--latency-wait", "1").expect(0)
    first, second = [line.split() for line in (work.directory / "tries").read_text().splitlines()]
    assert first[0] != second[0] and (first[1], second[1]) == ("1", "2")


def test_where_there_is_one_node_only_it_gets_the_retry(project, pool):
    work = project("""
        rule all:
            output: "out"
            retries: 2
            shell: "echo x >> tries; [ $(wc -l < tries) = 3 ] && echo > {output}"
    """)
    work.run(*on(pool, "node1")).expect(0)
    assert (work.directory / "tries").read_text() == "x\n" * 3
