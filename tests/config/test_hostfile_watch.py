"""Each edit of the host file is reported once, and a bad edit is a HarborError, whatever the file contains."""

import os
from pathlib import Path

import pytest

from snakemake_executor_plugin_harbor.config.hostfile_watch import HostfileWatch
from snakemake_executor_plugin_harbor.config.pool_config import host_list
from snakemake_executor_plugin_harbor.config.settings import ExecutorSettings
from snakemake_executor_plugin_harbor.core.model import NodeSpec
from snakemake_executor_plugin_harbor.errors import HarborError


class Watch:
    """Edits a host file and watches it."""

    def __init__(self, path: Path, text: str = "ada\n") -> None:
        self.path = path
        self.edit(text)
        settings = ExecutorSettings(hostfile=path, hosts=[])
        self.list = HostfileWatch(path, lambda: host_list(settings))

    def edit(self, text: str | bytes) -> None:
        new = self.path.with_name("new")
        new.write_bytes(text.encode() if isinstance(text, str) else text)
        new.replace(self.path)

    def looks(self, times: int = 4) -> list[object]:
        """Return the results of several calls: names of nodes, an error, or None."""
        found: list[object] = []
        for _ in range(times):
            try:
                nodes = self.list.changed()
                found.append([node.name for node in nodes] if nodes is not None else None)
            except HarborError as error:
                found.append(error)
        return found


@pytest.fixture(params=["hosts", "hosts.yaml"])
def watch(request, tmp_path):
    return Watch(tmp_path / request.param, "ada: {}\n" if request.param.endswith("yaml") else "ada\n")


def line(watch: Watch, *names: str) -> str:
    return "".join(f"{name}{': {}' * (watch.path.suffix == '.yaml')}\n" for name in names)


def test_an_edit_is_told_once_when_it_has_settled(watch):
    assert watch.looks() == [None] * 4
    watch.edit(line(watch, "ada", "bob"))
    assert watch.looks() == [None, ["ada", "bob"], None, None]


def test_a_file_that_is_away_for_a_moment_is_no_edit(watch):
    watch.path.rename(watch.path.with_name("away"))
    assert watch.looks(1) == [None]
    watch.path.with_name("away").rename(watch.path)
    assert watch.looks() == [None] * 4


BAD = {
    "binary": lambda w: w.edit(b"\x00\x01\xff"),
    "latin": lambda w: w.edit("gr\u00fcn".encode("latin-1")),
    "empty": lambda w: w.edit(""),
    "gone": lambda w: w.path.unlink(),
    "directory": lambda w: (w.path.unlink(), w.path.mkdir()),
    "pipe": lambda w: (w.path.unlink(), os.mkfifo(w.path)),
    "dangling": lambda w: (w.path.unlink(), w.path.symlink_to("nowhere")),
    "circle": lambda w: (w.path.unlink(), w.path.symlink_to(w.path)),
    "huge number": lambda w: w.edit("9" * 5000 + "/ada\n"),
    "key": lambda w: w.edit("? [host1, host2]\n: {slots: 1}\n"),
    "twice": lambda w: w.edit(line(w, "ada", "ada")),
    "deep": lambda w: w.edit("[" * 100_000),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_edit_is_one_error_and_a_good_one_after_it_counts(watch, bad):
    BAD[bad](watch)
    found = watch.looks(6)
    (error,) = [one for one in found if one is not None]
    assert isinstance(error, HarborError) and str(watch.path) in str(error)
    if watch.path.is_dir():
        watch.path.rmdir()
    watch.edit(line(watch, "eve"))
    assert watch.looks() == [None, ["eve"], None, None]


def test_an_error_of_any_class_is_one_with_the_files_name(watch):
    def broken() -> tuple[NodeSpec, ...]:
        raise ZeroDivisionError("of all things")

    watch.list = HostfileWatch(watch.path, broken)
    watch.edit(line(watch, "eve"))
    found = watch.looks()
    assert found[0] is found[2] is found[3] is None
    assert str(watch.path) in str(found[1]) and "of all things" in str(found[1])


def test_no_file_and_what_is_no_file_never_change(tmp_path):
    for path in (None, Path("/dev/null")):
        watched = HostfileWatch(path, lambda: (_ for _ in ()).throw(AssertionError))
        assert [watched.changed() for _ in range(4)] == [None] * 4
