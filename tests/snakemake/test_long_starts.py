"""A start message of any size works, or the job fails with a sentence."""

import pytest

from tests.snakemake.harness import on

MANY = """
    import os

    # 1.1 MB of names
    FILES = [f"in/{i:06d}_" + 190 * "a" for i in range(int(config.get("count", 5500)))]
    for f in FILES:
        if not os.path.exists(f):
            os.makedirs(os.path.dirname(f), exist_ok=True)
            open(f, "w").close()
"""
RUN = """
    rule all:
        input: FILES, "odd\\nname", " odd "
        output: "out"
        run:
            with open(output[0], "w") as f:
                print(len(input), file=f)
"""
SHELL = """
    rule all:
        input: FILES
        output: "out"
        shell: "(for i in {input}; do echo $i; done) | wc -l > {output}"
"""
GROUP = """
    rule all:
        input: "out"

    rule one:
        input: FILES
        output: "one"
        group: "g"
        shell: "(for i in {input}; do echo $i; done) | wc -l > {output}"

    rule two:
        input: FILES, "one"
        output: "out"
        group: "g"
        shell: "cat one > {output}"
"""


@pytest.mark.parametrize(("rules", "count"), [(RUN, 5502), (SHELL, 5500), (GROUP, 100)], ids=["run", "shell", "group"])
def test_very_many_inputs(project, pool, rules, count):
    work = project(MANY + rules)
    for name in ("odd\nname", " odd "):
        (work.directory / name).touch()
    few = ["--config", f"count={count}"] if count < 1000 else []
    work.run(*on(pool, "node1"), "-q", "rules", *few, timeout=100).expect(0)
    assert (work.directory / "out").read_text().strip() == str(count)
    assert not work.files(".snakemake/harbor/start/*")


def test_the_list_of_inputs_goes_with_its_job(project, pool):
    work = project(
        MANY + RUN.replace("run:", "params: 1\n        run:").replace("with open", "assert len(input) < 9; with open")
    )
    (work.directory / "odd\nname").touch()
    (work.directory / " odd ").touch()
    work.run(*on(pool, "node1"), "--config", "count=50").expect(1)
    assert not work.files(".snakemake/harbor/start/*")


def test_a_very_long_command_of_a_factory(project, pool):
    work = project("""
        rule all:
            output: "out"
            shell: "echo ${{X##*x}} > {output}"
    """)
    (work.directory / "factory.py").write_text(
        "def command(context):\n    return 'X=' + 'x' * 3_000_000 + 'end\\n' + context.command\n"
    )
    work.run(*on(pool, "node1"), "--harbor-command-factory", "factory.py:command").expect(0)
    assert (work.directory / "out").read_text() == "end\n"
    assert not work.files(".snakemake/harbor/start/*")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            """
            import os
            for i in range(12):
                os.environ[f"HUGE{i}"] = "x" * 100_000
            envvars: *[f"HUGE{i}" for i in range(12)]
            rule all:
                output: "out"
                shell: "echo > {output}"
            """,
            "and a node takes at most 1048576. The largest part is the environment variable HUGE",
        ),
        (
            """
            rule all:
                output: "out"
                resources: progress="(x)(y)" + "z" * 2_000_000
                shell: "echo > {output}"
            """,
            "The largest part is `progress`",
        ),
    ],
    ids=["variables", "progress"],
)
def test_what_no_node_takes_fails_with_a_sentence(project, pool, rules, said):
    work = project(rules)
    run = work.run(*on(pool, "node1"), "--retries", "1").expect(1)
    assert said in run.text, run.text[-3000:]
    assert "Traceback" not in run.text
    assert "node node1" not in run.text  # the node does not need it


def test_huge_params(project, pool):
    work = project("""
        rule all:
            input: "one", "two"

        rule one:
            output: "one"
            params: x="x" * 3_000_000
            shell: "X={params.x}; echo ${{#X}} > {output}"

        rule two:
            output: "two"
            params: x="x" * 3_000_000
            run:
                open(output[0], "w").write(str(len(params.x)))
    """)
    work.run(*on(pool, "node1"), "-q", "all").expect(0)
    assert (work.directory / "one").read_text() == "3000000\n"
    assert (work.directory / "two").read_text() == "3000000"
