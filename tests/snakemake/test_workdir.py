"""A Snakemake on a node works in the controller's working directory, in whatever way that is given."""

import pytest

from tests.snakemake.harness import on

pytestmark = pytest.mark.timeout(300)  # a Snakemake that starts on a node is slow on a busy machine

RULES = """
    import os
    configfile: "defaults.yaml"
    {workdir}

    rule all:
        input: "shell.txt", "run.txt", "grouped.txt"

    rule shell:
        output: "shell.txt"
        shell: "echo {{config[a]}} {{config[b]}} > {{output}}"

    rule run:
        output: "run.txt"
        run:
            with open(output[0], "w") as f:
                print(config["a"], config["b"], file=f)

    rule first:
        output: temp("first.txt")
        group: "g"
        shell: "echo first > {{output}}"

    rule second:
        input: "first.txt"
        output: "grouped.txt"
        group: "g"
        script: "scripts/two.py"
"""


@pytest.mark.parametrize(
    ("workdir", "options", "where"),
    [
        ('include: "more.smk"', (), "out"),
        ('workdir: os.path.abspath("out")', (), "out"),
        ('workdir: "out"', ("--directory", "there"), "there"),
    ],
    ids=["relative", "absolute", "option"],
)
def test_jobs_of_every_kind_write_where_the_rules_say(project, pool, workdir, options, where):
    work = project("")
    here = work.directory
    (here / "flow" / "scripts").mkdir(parents=True)
    (here / "flow" / "scripts" / "two.py").write_text("open(snakemake.output[0], 'w').write('second')")
    (here / "flow" / "more.smk").write_text('workdir: "out"\n')
    (here / "flow" / "Snakefile").write_text("\n".join(line[4:] for line in RULES.format(workdir=workdir).split("\n")))
    # Snakemake reads the Snakefile in the directory that --directory names.
    started = here / where if options else here
    started.mkdir(exist_ok=True)
    (started / "defaults.yaml").write_text("a: 1\nb: 2\n")
    (here / "own.yaml").write_text("b: 3\n")
    files = ("--snakefile", "flow/Snakefile", "--configfile", "own.yaml")
    work.run(*on(pool, "4/node1"), *files, *options, timeout=250).expect(0)
    found = {path.name: path.read_text().strip() for path in (here / where).glob("*.txt")}
    assert found == {"shell.txt": "1 3", "run.txt": "1 3", "grouped.txt": "second"}
    assert not (here / where / where).exists()
