"""Scripts give the same results as under Snakemake's local executor on nodes that have their interpreter only."""

import os
import re
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.agent.conftest import pythons
from tests.lab import Lab
from tests.snakemake.harness import Workdir, on

pytestmark = pytest.mark.timeout(300)

SNAKEFILE = """
    from collections import OrderedDict
    from datetime import date
    from pathlib import Path
    import lib.shapes

    configfile: "config.yaml"

    FILES = ["told_a_1.txt", "told.extra_a_1", "wrapped", "shadowed", "bash.out", "r.out", "julia.out",
             "rust.out"]

    rule all:
        input: FILES

    rule told:
        input: "Snakefile", named=["config.yaml", "Snakefile"], one="config.yaml"
        output: "told_{x}_{y}.txt", extra="told.extra_{x}_{y}"
        params:
            path=Path("a/b"), shape=lib.shapes.Square(3), deep={"k": [1, (2.5, None)]}, sort="item", words=["a b", "c"],
            ordered=OrderedDict(z=1, a=date(2020, 1, 2)), text="it's \\"\\u00e9\\" $HOME", letters={"x"},
            call=lambda wildcards, input: (input.one, wildcards.x, "{braces}")
        log: "log/{x}.{y}.log"
        threads: 2
        resources: mem_mb=100, kind="x"
        script: "scripts/told.py"

    rule wrapped:
        input: one="Snakefile", two="config.yaml"
        output: "wrapped"
        log: "log/wrapped"
        wrapper: "file:wrapper"

    rule shadowed:
        output: "shadowed"
        shadow: "minimal"
        benchmark: repeat("bench.tsv", 2)
        script: "scripts/where.py"

    rule bash:
        output: "bash.out"
        params: word="it's", list=["a b", "c"]
        script: "scripts/all.sh"

    rule r:
        output: "r.out"
        params: number=2.5, words=["a", "b"]
        script: "scripts/all.R"

    rule julia:
        output: "julia.out"
        params: number=2.5, words=["a", "b"]
        script: "scripts/all.jl"

    rule rust:
        output: "rust.out"
        params: number=2.5, words=["a", "b"]
        script: "scripts/all.rs"
"""
TOLD = """
import os
import sys
import helper
import lib.shapes
from snakemake.logging import logger
from snakemake.shell import shell

with open(snakemake.output[0], "w", encoding="utf-8") as file:
    def tell(*values):
        print(*values, file=file)

    for name in ("input", "output", "params", "wildcards", "log"):
        value = getattr(snakemake, name)
        tell(name, type(value).__module__, type(value).__name__, list(value), list(value.items()), value)
        tell(value[:1], value[-1:], value.get(name, "none"), len(value))
    tell(snakemake.resources.mem_mb, snakemake.resources.get("kind"), sorted(snakemake.resources.keys()))
    tell(hash(snakemake.input) == hash(tuple(snakemake.input)), snakemake.params.call)
    tell(snakemake.input.named, type(snakemake.input.named).__name__, snakemake.input["one"], [*snakemake.input.named])
    tell(snakemake.params.sort, snakemake.params.get("index", "none"), snakemake.params.shape.area())
    try:
        snakemake.input.index("Snakefile")
    except AttributeError as error:
        tell(error)
    tell(snakemake.threads, snakemake.rule, snakemake.config, snakemake.bench_iteration, snakemake.scriptdir)
    tell(__file__, os.path.basename(__real_file__).split(".", 1)[1], helper.NAME, isinstance(snakemake, Snakemake))
    tell([snakemake.log_fmt_shell(a, b, c) for a, b, c in ((1, 1, 0), (1, 0, 1), (0, 1, 0))])
    tell(snakemake.report_href("dir/x").child_path("a/b c").url_args(q="1 2").anchor("x y"))
    tell(logger.name, sys._getframe().f_lineno, shell("echo $OMP_NUM_THREADS {snakemake.threads}", read=True))
    tell(shell("echo {snakemake.params.words:q} {snakemake.wildcards} {0}", snakemake.output, read=True))
    tell(list(shell("printf 'a\\\\nb\\\\n{kind}\\\\n'; echo {{}}", kind="c", iterable=True)))
    try:
        shell("false | true")
    except Exception as error:
        tell(type(error).__name__, error)
shell("echo made > {snakemake.output.extra}")
"""
WRAPPER = """
from snakemake.shell import shell
log = snakemake.log_fmt_shell(stdout=False)
shell("(cat {snakemake.input.one} {snakemake.input.two}; echo logged >&2) > {snakemake.output} {log}")
"""
BASH = """
echo "${snakemake_output[0]} ${snakemake_params[word]} ${snakemake_params[list]} ${snakemake[rule]} $0" > bash.names
sed 's|[^ ]*\\.snakemake/scripts/[^ ]*||' bash.names > "${snakemake_output[0]}"
"""
INTERPRETERS = {
    "Rscript": 'shift; cat "$@" > r.out',
    "julia": 'cat "${@: -1}" > julia.out',
    "rust-script": """for file; do case "$file" in *.rs) cat "$file" > rust.out ;; esac; done""",
}
"""Stubs: programs that record the script which they are given, as this machine need not have the languages."""
OUTPUTS = ("told_a_1.txt", "told.extra_a_1", "wrapped", "log/wrapped", "shadowed", "bash.out", "r.out")
OUTPUTS += ("julia.out", "rust.out")
SOME = ("told_a_1.txt", "wrapped", "bash.out")


class Project(Workdir):
    """The scripts, and what a run of them has left."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SNAKEFILE)
        files = {
            "config.yaml": "a: {b: 1}\nc: text\n",
            "lib/__init__.py": "",
            "lib/shapes.py": "class Square:\n    def __init__(self, a):\n        self.a = a\n"
            "    def area(self):\n        return self.a ** 2\n    def __repr__(self):\n        return 'Square'\n",
            "scripts/helper.py": "NAME = 'helper'\n",
            "scripts/told.py": TOLD,
            "scripts/where.py": "import os\nopen(snakemake.output[0], 'w').write("
            "'%s %s' % ('shadow' in os.getcwd(), snakemake.bench_iteration))\n",
            "scripts/all.sh": BASH,
            **{f"scripts/all.{kind}": f"{mark} the script\n" for kind, mark in (("R", "#"), ("jl", "#"), ("rs", "//"))},
            "wrapper/wrapper.py": WRAPPER,
            "wrapper/environment.yaml": "",
        }
        for name, text in files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text, encoding="utf-8")
        (directory / "bin").mkdir()
        for name, body in INTERPRETERS.items():
            (directory / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
            (directory / "bin" / name).chmod(0o755)

    def results(self, names: Sequence[str] = OUTPUTS) -> dict[str, bytes]:
        """Return what the run has made, and remove it."""
        found = {name: (self.directory / name).read_bytes() for name in names}
        for name in names:
            (self.directory / name).unlink()
        return found

    def path(self) -> dict[str, str]:
        return {"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def locally(shared):
    """Return the project, and what Snakemake's local executor makes of it."""
    work = Project(shared / "project")
    work.run("--cores", "4", "--latency-wait", "1", env=work.path(), timeout=120).expect(0)
    yield work, work.results()
    work.close()


def assert_same(found, expected):
    """Compare the results of two runs byte by byte, and show the first line that differs."""
    for name, data in expected.items():
        assert found[name].splitlines() == data.splitlines(), name
    assert found == expected


def hostfile(directory, node, python):
    file = directory / f"{node}.yaml"
    file.write_text(f"{node}: {{slots: 4, python: {python}, scratch: {directory / 'scratch'}}}\n")
    return "--harbor-hostfile", str(file)


def test_with_the_oldest_python_of_a_host_file(locally, pool, tmp_path):
    work, expected = locally
    options = (*on(pool)[:-2], *hostfile(tmp_path, "node1", pythons()[0]))
    work.run(*options, "--harbor-dispatch", "direct", env=work.path(), timeout=120).expect(0)
    assert_same(work.results(), expected)


@pytest.mark.parametrize("sees", [True, False], ids=["shared", "staged"])
def test_on_a_host_that_has_neither_snakemake_nor_the_controllers_python(locally, shared, tmp_path, sees):
    if reason := Lab.unavailable():
        pytest.skip(reason)
    work, expected = locally
    names = [*SOME, "r.out"] if sees else SOME  # The stub of Rscript lies in the shared directory.
    with Lab(1, [shared] if sees else [], tmp_path / "lab") as lab:
        options = (*on(lab, "4/host1"), "--harbor-scratch", "/var/tmp/harbor-0")
        work.run(*options, "--", *names, env=work.path(), timeout=120).expect(0)
    found = work.results(names)
    if not sees:  # The job's directory stands for the working directory.
        stage = rb"/var/tmp/harbor-0/stage/[^/ ]+/[^/ \"']+"
        found = {name: re.sub(stage, os.fsencode(work.directory), data) for name, data in found.items()}
    assert_same(found, {name: expected[name] for name in names})


FAILING = """
    from packaging.version import Version

    rule classy:
        output: "classy"
        params: 1, version=Version("1.2")
        script: "show.py"

    rule importing:
        output: "importing"
        script: "importing.py"

    rule reaching:
        output: "reaching"
        script: "reaching.py"

    rule plain:
        output: "plain"
        params: version="1.2"
        script: "show.py"
"""


def test_what_the_nodes_python_lacks_is_said_in_the_log_of_the_job(project, pool, tmp_path):
    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / "bin" / "python"
    work = project(FAILING)
    scripts = {
        "show": "import sys\nopen(snakemake.output[0], 'w').write(snakemake.params.version + sys.executable)\n",
        "importing": "import packaging.version\n",
        "reaching": "import snakemake.persistence\n",
    }
    for name, text in scripts.items():
        (work.directory / f"{name}.py").write_text(text)
    options = (*on(pool)[:-2], *hostfile(tmp_path, "node1", python), "--keep-going", "--retries", "0")
    work.run(*options, "--", "classy", "importing", "reaching", "plain").expect(1)
    assert (work.directory / "plain").read_text() == f"1.2{python}"

    def log(rule):
        (path,) = (work.directory / ".snakemake/harbor_logs" / rule).rglob("*.log")
        return path.read_text()

    why = f"params.version is an object of the class packaging.version.Version, which this Python ({python} on"
    assert why in log("classy") and "No module named 'packaging'" in log("classy")
    assert f"exit code 1: {why}" in work.harbor("explain", "classy").stdout
    assert "importing.py" in log("importing") and "No module named 'packaging'" in log("importing")
    assert f"This Python ({python}) has no Snakemake" in log("reaching") and "reaching.py" in log("reaching")
