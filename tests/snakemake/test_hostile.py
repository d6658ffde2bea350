"""Messages of a compromised node harm only that node, and a run with an honest node succeeds."""

import json
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.core.protocol import printable
from tests.snakemake.harness import Workdir, on
from tests.snakemake.test_flood import watch
from tests.sshd import wait_until

GROWTH_MB = 60

JOBS = """
    rule all:
        input: expand("out/{i}", i=range(6))

    rule one:
        output: "out/{i}"
        shell: "echo $HARBOR_NODE_NAME >> effects; sleep 0.5; echo {wildcards.i} > {output}"
"""

PROGRAM = Path(__file__).with_name("hostile_node.py")
"""It replaces the node's Python."""


class Evil:
    """The hostile program, and a host list in which node1 runs it and another node is honest."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.python = directory / "python"
        self.python.write_text(f"#!{sys.executable}\n{PROGRAM.read_text()}")
        self.python.chmod(0o755)

    def mode(self, kind: str, **more: object) -> None:
        (self.directory / "mode.json").write_text(json.dumps({"kind": kind, **more}))

    def options(self, pool: object, evil: bool = True) -> list[str]:
        scratch = self.directory / "scratch"
        scratch.mkdir(exist_ok=True)
        python = f"python: {self.python}, " if evil else ""
        path = self.directory / "hosts.yaml"
        path.write_text(
            f"node1: {{{python}scratch: {scratch / 'node1'}}}\nnode2: {{slots: 2, scratch: {scratch / 'node2'}}}\n"
        )
        return [*on(pool)[:-2], "--harbor-hostfile", str(path)]

    @property
    def met(self) -> bool:
        return (self.directory / "met").exists()


@pytest.fixture
def evil(tmp_path: Path) -> Evil:
    return Evil(tmp_path / "evil")


def tree(directory: Path) -> dict[str, bytes | None]:
    """Return all files below a directory with their contents."""
    found = sorted(directory.rglob("*"))
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in found}


def precious(directory: Path) -> Path:
    """Make a file that must not be touched."""
    (directory / "a/b").mkdir(parents=True)
    for name in ("file", "a/file", "a/b/file"):
        (directory / name).write_text("precious")
    return directory


def assert_plain(text: str) -> None:
    """Check that Snakemake has printed no control character."""
    for line in text.splitlines():
        assert printable(line) == line, repr(line)


def assert_done(work: Workdir, count: int = 6, also: frozenset[str] = frozenset()) -> None:
    for i in range(count):
        assert (work.directory / "out" / str(i)).read_text() == f"{i}\n"
    known = {"out", "effects", "Snakefile", ".snakemake"} | also
    assert {path.name for path in work.directory.iterdir() if not path.name.startswith("snakemake.")} <= known


@pytest.fixture(scope="module")
def usual(pool, tmp_path_factory) -> float:
    """Return the memory (MiB) of a run without the hostile node."""
    directory = tmp_path_factory.mktemp("usual")
    run = Workdir(directory / "project", JOBS).start(*Evil(directory / "evil").options(pool, evil=False))
    peak = watch(run.process)
    run.expect(0)
    return peak


KINDS = [
    *("refuses", "oversized and invalid", "garbage facts", "endless load", "strangers' ends", "escapes and ends"),
    *("fatal", "fatal of a wrong type", "endless records", "endless noise"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_node_does_not_keep_a_run_from_its_end(project, pool, evil, usual, tmp_path, kind):
    outside = precious(tmp_path / "precious")
    before = tree(outside)
    evil.mode(kind)
    work = project(JOBS)
    run = work.start(*evil.options(pool))
    peak = watch(run.process)
    run.expect(0)
    assert evil.met
    assert_done(work)
    assert set((work.directory / "effects").read_text().split()) == {"node2"}
    assert tree(outside) == before
    assert_plain(run.text)
    assert peak - usual < GROWTH_MB, f"{usual:.0f} MiB, with it {peak:.0f} MiB"
    shown = work.harbor("status")
    assert shown.returncode == 0, shown.stderr
    assert_plain(shown.stdout)


# --- records of an earlier run ------------------------------------------------------------------------------

WAITING = """
    rule all:
        input: "out/0"

    rule one:
        output: "out/0"
        shell: "echo $HARBOR_NODE_NAME >> effects; until [ -e go ]; do sleep 0.1; done; echo 0 > {output}"
"""


def record_of(spool: Path) -> dict[str, object]:
    """Return the record that an honest agent made of its only job."""
    (path,) = spool.glob("*/*.job")
    record: dict[str, object] = {"job": f"{path.parent.name}/{path.name.split('.')[0]}", "attempt": 1}
    for line in path.read_text().splitlines():
        record |= json.loads(line or "{}")
    return record


def poisoned(meta: dict[str, object], work: Path, outside: Path) -> list[dict[str, object]]:
    """Return facts that a node was given to store, as a hostile node may change them."""
    escape = "\x1b]0;owned\x07"
    targets = [
        str(outside / "file"),
        str(outside / "a"),
        str(work / "mine"),
        "mine",
        ".snakemake/../mine",
        "out/0",
        ".",
    ]
    targets += [".snakemake/scripts/../../mine", ".snakemake/scripts", ".snakemake", "", "\0", escape, "~", "/"]
    return [
        {**meta, "litter": targets},
        {**meta, "shadow_dir": str(outside / "a")},
        {**meta, "shadow_dir": ".snakemake/shadow/../../out", "litter": {"a": targets}},
        {**meta, "log": str(outside / "file")},
        {**meta, "log": str(work / f".snakemake/harbor_logs/{escape}"), "snakemake_attempt": 10**30, "proc_id": -1},
        {"slots": list(range(5000)), "gpus": [10**30, "x"], "litter": 5, "shadow_dir": targets, "log": 7},
    ]


CASES = [(0, 1, "lost"), (1, 1, "well"), (2, 1, "well"), (3, 1, "lost"), (4, 1, "well"), (5, 1, "lost")]
CASES += [(0, 99_999, "lost"), (0, 999_999, "lost")]


@pytest.mark.parametrize(("poison", "attempt", "end"), CASES)
def test_what_a_node_says_of_an_earlier_runs_job_touches_nothing_else(
    project, pool, evil, tmp_path, poison, attempt, end
):
    outside = precious(tmp_path / "precious")
    work = project(WAITING)
    (work.directory / "mine").write_text("precious")
    options = [*evil.options(pool, evil=False), "--rerun-incomplete", "--nolock"]
    path = evil.directory / "hosts.yaml"
    path.write_text(path.read_text().splitlines()[0])
    first = work.start(*options)
    effects = work.directory / "effects"
    wait_until(lambda: effects.exists() and effects.read_text() == "node1\n", 30, "a started job")
    first.kill()
    record = record_of(evil.directory / "scratch/node1/spool")
    (work.directory / "go").touch()
    wait_until((work.directory / "out/0").exists, 30, "the end of the job on the honest node")

    known = {name: record[name] for name in ("job", "hash")} | {"attempt": attempt}
    known["meta"] = poisoned(record["meta"], work.directory, outside)[poison]
    names = {"job": record["job"], "attempt": attempt}
    if end == "well":
        known |= {"state": "exited", "exit": {"code": 0, "reason": None, "tail": "x", "log": True, "steps": []}}
    else:
        known |= {"state": "running"}
    before = tree(outside)
    evil.mode("records", known=[known], exited=[{**names, "code": -9, "reason": "lost"}])
    options = [*evil.options(pool), "--rerun-incomplete", "--nolock"]
    second = work.start(*options)
    # A record that is no attempt is dropped. Then the honest agent's exit notice of the job counts.
    second.until("adopted .* of an earlier run, .* on node1", 60)
    (evil.directory / "end").touch()
    peak = watch(second.process)
    second.expect(0)
    ran = ["node1"] if end == "well" or attempt == 999_999 else ["node1", "node2"]
    assert effects.read_text().split() == ran
    assert_done(work, 1, frozenset({"mine", "go"}))
    assert (work.directory / "mine").read_text() == "precious" and tree(outside) == before
    assert_plain(second.text)
    assert peak < 400
    assert_plain(work.harbor("status").stdout)
