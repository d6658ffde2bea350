"""Files go to a node and back. The mover runs in the oldest and the newest Python of this machine."""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.remote.connect import make_transport
from snakemake_executor_plugin_harbor.remote.transport import SshSettings, Target, Transport
from snakemake_executor_plugin_harbor.staging.manifest import Checksums
from snakemake_executor_plugin_harbor.staging.model import MoveFailed, Source, Wanted
from snakemake_executor_plugin_harbor.staging.mover import Mover
from tests.agent.conftest import pythons
from tests.sshd import wait_until

MIB = 1 << 20


class Node:
    """This machine as a node, with a scratch directory of its own."""

    def __init__(self, base: Path, python: str) -> None:
        self.scratch = base / "scratch"
        self.cache_mb = 1000
        self.checksums = Checksums()
        self._spec = NodeSpec("node", "localhost", local=True, python=python)
        self._movers: list[Mover] = []

    def mover(self, on_connect: Callable[[NodeSpec], None] = lambda spec: None) -> Mover:
        welcome = {"t": "welcome", "v": 1, "scratch": str(self.scratch), "cache_mb": self.cache_mb, "umask": 0o22}
        target = Target("node", "localhost", None, None, True)
        settings = SshSettings(None, None)

        def connect(spec: NodeSpec) -> Transport:
            on_connect(spec)
            return make_transport(target, "openssh", settings)

        self._movers.append(
            Mover(
                self._spec,
                connect,
                lambda spec: welcome,
                self.checksums,
            )
        )
        return self._movers[-1]

    def attempt(self, name: str) -> Path:
        return self.scratch / "stage" / "owner" / name

    def close(self) -> None:
        for mover in self._movers:
            mover.close()


@pytest.fixture(params=pythons(), ids=lambda path: Path(path).parts[-3])
def node(request, tmp_path):
    node = Node(tmp_path, str(request.param))
    yield node
    node.close()


def seen(top: Path) -> dict[str, tuple[object, ...]]:
    """Return kind, mode, time and content of everything in a directory."""
    found = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        when = None if path.is_symlink() else status.st_mtime_ns
        found[str(path.relative_to(top))] = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), when, content)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with everything that a directory can have."""
    top = tmp_path / "tree"
    (top / "inner" / "empty").mkdir(parents=True)
    for name in ("plain", "two words", "new\nline", "-dash", "\udcff", "x" * 255, "$(echo no)", "\u00fc"):
        (top / "inner" / name).write_text(name.encode(errors="surrogateescape").hex())
    (top / "nothing").touch()
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "read only").write_text("r")
    (top / "read only").chmod(0o444)
    (top / "link").symlink_to("inner/plain")
    (top / "inner" / "to directory").symlink_to("empty")
    (top / "second name").hardlink_to(top / "inner" / "plain")
    with (top / "sparse").open("wb") as f:
        f.write(b"begin")
        f.truncate(3 * MIB)
        f.seek(0, 2)
        f.write(b"end")
    for number, path in enumerate(sorted(top.rglob("*"), reverse=True)):
        if not path.is_symlink():
            os.utime(path, ns=(1_000_000_007 * number, 1_600_000_000_123_456_789 + number))
    os.utime(top, ns=(5, 1_500_000_000_987_654_321))
    return top


def test_everything_goes_there_and_back(node, tree, tmp_path):
    mover = node.mover()
    mover.put("owner/r.1.1", [Source(str(tree), "in/tree")], ["out/deep"])
    base = node.attempt("r.1.1")
    assert seen(base / "in" / "tree") == seen(tree)
    assert (base / "out" / "deep").is_dir()
    moved = mover.fetch("owner/r.1.1", [Wanted("in/tree", str(tmp_path / "new" / "back"))], str(tmp_path))
    assert seen(tmp_path / "new" / "back") == seen(tree) and not moved.missing
    assert (tmp_path / "new" / "back" / "sparse").stat().st_blocks * 512 < 3 * MIB
    mover.remove("owner/r.1.1")
    assert not base.exists()


def test_ten_thousand_files_in_one_directory(tmp_path):
    node = Node(tmp_path, pythons()[-1])
    top = tmp_path / "many"
    top.mkdir()
    for number in range(10_000):
        (top / str(number)).write_text(str(number))
    mover = node.mover()
    assert mover.put("owner/r.1.1", [Source(str(top), "many")]).files == 10_000
    mover.fetch("owner/r.1.1", [Wanted("many", str(tmp_path / "back"))])
    assert seen(tmp_path / "back") == seen(top)
    node.close()


def test_a_link_to_a_file_elsewhere_is_sent_as_that_file(node, tmp_path):
    (tmp_path / "file").write_text("elsewhere")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "out").symlink_to("../file")
    (tmp_path / "link").symlink_to("file")
    sources = [
        Source(str(tmp_path / "top"), "top"),
        Source(str(tmp_path / "link"), "link"),
        Source("/dev/null", "none"),
    ]
    node.mover().put("owner/r.1.1", sources)
    base = node.attempt("r.1.1")
    for name in ("top/out", "link"):
        assert (base / name).read_text() == "elsewhere" and not (base / name).is_symlink()
    assert (base / "none").read_bytes() == b""


def test_links_of_a_directory_that_lead_elsewhere(node, tmp_path):
    """Two of them may lead to the same directory, and one may lead nowhere, as in a copied environment."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("data")
    (tmp_path / "top").mkdir()
    for name, target in {"one": "../data", "two": "../data", "gone": "/no/such/file", "above": "../no"}.items():
        (tmp_path / "top" / name).symlink_to(target)
    node.mover().put("owner/r.1.1", [Source(str(tmp_path / "top"), "top")])
    base = node.attempt("r.1.1") / "top"
    assert (base / "one/file").read_text() == (base / "two/file").read_text() == "data"
    assert (os.readlink(base / "gone"), os.readlink(base / "above")) == ("/no/such/file", "../no")
    (tmp_path / "data/circle").symlink_to("../data")
    with pytest.raises(MoveFailed, match="circle is a link to a directory that contains it") as error:
        node.mover().put("owner/r.1.2", [Source(str(tmp_path / "top"), "top")])
    assert error.value.kind == "local"


def test_a_content_crosses_once(node, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(os.urandom(20 * MIB))
    mover = node.mover()
    moved = []
    threads = [
        threading.Thread(target=lambda n=n: moved.append(mover.put(f"owner/r.{n}.1", [Source(str(large), "large")])))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(moved) == 6 and sum(one.bytes for one in moved) == 20 * MIB
    os.utime(large, ns=(1, 1))
    large.chmod(0o755)
    again = node.mover()
    assert again.put("owner/r.9.1", [Source(str(large), "large")]).bytes == 0
    status = (node.attempt("r.9.1") / "large").stat()
    assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (1, 0o755)
    # What a job has made is there, too.
    (node.attempt("r.9.1") / "made").write_bytes(b"m" * MIB)
    again.fetch("owner/r.9.1", [Wanted("made", str(tmp_path / "made"))])
    assert again.put("owner/r.10.1", [Source(str(tmp_path / "made"), "made")]).bytes == 0


def test_a_job_that_writes_to_its_inputs_spoils_no_other(node, tmp_path):
    (tmp_path / "file").write_text("right")
    sources = [Source(str(tmp_path / "file"), "file"), Source(str(tmp_path / "file"), "update", writable=True)]
    mover = node.mover()
    mover.put("owner/r.1.1", sources)
    (node.attempt("r.1.1") / "update").write_text("changed by the job")
    assert (node.attempt("r.1.1") / "file").read_text() == "right"
    (node.attempt("r.1.1") / "file").write_text("wrong")
    (node.attempt("r.1.1") / "file").chmod(0o600)
    mover.put("owner/r.2.1", sources)
    assert (node.attempt("r.2.1") / "file").read_text() == "right"


def test_a_large_file_is_continued_after_a_cut(node, tmp_path):
    size = 150 * MIB
    with (tmp_path / "large").open("wb") as f:
        for _ in range(150):
            f.write(os.urandom(MIB))
    mover = node.mover()
    failed = []

    def put():
        try:
            mover.put("owner/r.1.1", [Source(str(tmp_path / "large"), "large")])
        except MoveFailed as error:
            failed.append(error.kind)

    thread = threading.Thread(target=put)
    thread.start()
    part = node.scratch / "cache" / "part"
    wait_until(lambda: part.is_dir() and any(path.stat().st_size > 10 * MIB for path in part.iterdir()))
    (transfer,) = mover.transfers()
    assert (transfer.directory, transfer.sends, transfer.total) == ("owner/r.1.1", True, size)
    assert 5 * MIB < transfer.done < size
    mover.close()
    thread.join(30)
    assert failed == ["link"]
    moved = node.mover().put("owner/r.1.2", [Source(str(tmp_path / "large"), "large")])
    assert 0 < moved.bytes < size - 5 * MIB and mover.transfers() == []
    assert (node.attempt("r.1.2") / "large").read_bytes() == (tmp_path / "large").read_bytes()


def test_an_input_that_changes_while_it_is_sent(node, tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    node.checksums._known[key] = "0" * 64  # as if it had been read before it changed
    with pytest.raises(MoveFailed) as failed:
        node.mover().put("owner/r.1.1", [Source(str(path), "file")])
    assert failed.value.kind == "changed" and "file" in failed.value.message
    assert not node.attempt("r.1.1").exists()


def test_outputs_that_were_not_made_and_those_that_must_not_be_copied(node, tmp_path):
    mover = node.mover()
    mover.put("owner/r.1.1", [], ["out"])
    base = node.attempt("r.1.1")
    (base / "out" / "good").write_text("good")
    (base / "out" / "inside").symlink_to(base / "out" / "good")
    absent = Wanted("out/absent", str(tmp_path / "absent"))
    good = [Wanted("out/good", str(tmp_path / "good")), Wanted("out/inside", str(tmp_path / "inside"))]
    assert mover.fetch("owner/r.1.1", [*good, absent], str(tmp_path)).missing == (absent,)
    assert os.readlink(tmp_path / "inside") == "good"
    (base / "out" / "abs").symlink_to("/etc/passwd")
    (base / "out" / "up").symlink_to("../../../..")
    os.mkfifo(base / "out" / "pipe")
    (base / "away").symlink_to("/etc")
    for name in ("out/abs", "out/up", "out/pipe", "away/passwd", "out"):
        (tmp_path / "good").write_text("old")
        with pytest.raises(MoveFailed) as failed:
            mover.fetch("owner/r.1.1", [good[0], Wanted(name, str(tmp_path / "bad"))], str(tmp_path))
        assert failed.value.kind == "unsafe", name
        assert (tmp_path / "good").read_text() == "old", "nothing takes its place before everything has arrived"
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(("bad", "-part"))]


def test_the_cache_keeps_its_bound_and_what_is_in_use(node, tmp_path):
    node.cache_mb = 3
    mover = node.mover()
    for number in range(6):
        (tmp_path / str(number)).write_bytes(os.urandom(MIB))
    for number in range(6):
        mover.put(f"owner/r.{number}.1", [Source(str(tmp_path / str(number)), "file")])
        if number != 1:
            mover.remove(f"owner/r.{number}.1")
    kept = sum(path.stat().st_size for path in (node.scratch / "cache").rglob("*") if path.is_file())
    assert kept <= 4 * MIB
    assert (node.attempt("r.1.1") / "file").read_bytes() == (tmp_path / "1").read_bytes()
    sent = {n: mover.put(f"owner/s.{n}.1", [Source(str(tmp_path / str(n)), "file")]).bytes for n in (1, 5, 0)}
    assert sent == {1: 0, 5: 0, 0: MIB}


def test_a_killed_mover_is_an_error_of_the_link_and_the_next_call_connects_again(node, tmp_path):
    import psutil

    (tmp_path / "file").write_text("x")
    mover = node.mover()
    mover.put("owner/r.1.1", [Source(str(tmp_path / "file"), "file")])
    for child in psutil.Process().children(recursive=True):
        if any("binascii" in word for word in child.cmdline()):
            child.kill()
    try:
        mover.put("owner/r.2.1", [Source(str(tmp_path / "file"), "file")])
    except MoveFailed as error:
        assert error.kind == "link"


@pytest.mark.parametrize("python", [None, "/no/such/python"])
def test_the_first_connection_is_made_once(tmp_path, python):
    """It is made while the checksums are computed. Its error is that of the transfer."""
    node, made = Node(tmp_path, python or pythons()[-1]), []
    mover = node.mover(made.append)
    (tmp_path / "file").write_bytes(os.urandom(2 * MIB))
    sources = [Source(str(tmp_path / "file"), "file")]
    if python is None:
        mover.put("owner/r.1.1", sources)
        mover.put("owner/r.1.2", sources)
    else:
        with pytest.raises(MoveFailed, match=r"no connection for files: .*/no/such/python") as caught:
            mover.put("owner/r.1.1", sources)
        assert caught.value.kind == "link"
    assert len(made) == 1
    node.close()
