"""A node can write only what it was asked for, whatever it sends."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snakemake_executor_plugin_harbor.staging.arrival import Arrival, part_of
from snakemake_executor_plugin_harbor.staging.model import MoveFailed, Wanted

NAMES = st.sampled_from(["", "a", "b", "a/b", "a/c", "..", "../x", "/x", "a/../../x", "a//b", ".", "b/..", "a/\0"])
LINKS = st.sampled_from(["", "a", "b", "..", "../..", "/etc", "../other", "a/b", "a/../../other"])
LINE = st.tuples(
    st.integers(-1, 2),
    NAMES,
    st.sampled_from(["f", "d", "l", "w", "x"]),
    st.sampled_from([0o644, 0o755, 0o4755, -1, 1 << 20]),
    st.sampled_from([0, 1, 1 << 62, 1 << 70, -(1 << 70)]),
    st.sampled_from([0, 3, -1]),
    LINKS,
).map(list)
ODD = st.one_of(LINE, LINE, LINE, st.lists(st.one_of(st.integers(), st.text(), st.none()), max_size=8))


@settings(max_examples=300, deadline=None)
@given(st.lists(ODD, max_size=8), st.sampled_from([b"", b"abc", b"abcd"]))
def test_nothing_else_is_written(lines, content):
    with tempfile.TemporaryDirectory() as top:
        inside = Path(top, "deep", "work")
        inside.mkdir(parents=True)
        (Path(top, "other")).write_text("other")
        arrival = Arrival(
            [Wanted("out", str(inside / "out")), Wanted("in/two", str(inside / "in" / "two"))], 0.0, str(inside)
        )
        try:
            for line in lines:
                arrival.take(line, lambda: iter([content]), lambda: hashlib.sha256(content).hexdigest())
            arrival.finish()
        except (MoveFailed, OSError):
            arrival.undo()
        allowed = {inside / "out", inside / "in" / "two", inside / "in"}
        for path in Path(top).rglob("*"):
            assert path in {inside, inside.parent, Path(top, "other")} or any(
                path == one or one in path.parents for one in allowed
            ), path
            if path.is_symlink():
                end = os.path.normpath(path.parent / os.readlink(path))
                assert end == str(inside) or end.startswith(f"{inside}/"), path
        assert Path(top, "other").read_text() == "other"
        assert not list(Path(top).rglob("*harbor-part"))


@pytest.mark.parametrize("target", ["s/d/../../../x", "s/d/../x", "./s/.././../x", "s/d//.."])
def test_a_link_that_leads_out_through_another_link(tmp_path, target):
    """As text, the first target is `x` in the working directory. With s/d as a link to `..`, it is far outside."""
    arrival = Arrival([Wanted("out", str(tmp_path / "work" / "out"))], 0.0, str(tmp_path / "work"))
    lines = [["", "d", ""], ["s", "d", ""], ["s/d", "l", ".."], ["beside", "l", "../out/s"]]
    for inner, kind, inner_target in lines:
        arrival.take([0, inner, kind, 0o755, 0, 0, inner_target], lambda: iter([]), lambda: None)
    with pytest.raises(MoveFailed) as failed:
        arrival.take([0, "e", "l", 0o777, 0, 0, target], lambda: iter([]), lambda: None)
    arrival.undo()
    assert failed.value.kind == "unsafe"
    assert list((tmp_path / "work").iterdir()) == []


def test_bytes_beyond_those_announced_and_wrong_checksums(tmp_path):
    wanted = [Wanted("out", str(tmp_path / "out"))]
    line = [0, "", "f", 0o644, 0, 3, ""]
    for content, digest, kind in (
        (b"abcd", hashlib.sha256(b"abcd").hexdigest(), "unsafe"),
        (b"abc", "0" * 64, "changed"),
        (b"ab", hashlib.sha256(b"ab").hexdigest(), "changed"),
    ):
        arrival = Arrival(wanted, 0.0, str(tmp_path))
        with pytest.raises(MoveFailed) as failed:
            arrival.take(line, lambda content=content: iter([content]), lambda digest=digest: digest)
        arrival.undo()
        assert failed.value.kind == kind
        assert list(tmp_path.iterdir()) == []


def test_times_are_those_of_our_clock_and_never_in_the_future(tmp_path):
    now = os.stat(tmp_path).st_mtime_ns
    for skew, told, expected in ((3600.0, now + 3600 * 10**9, now), (0.0, now + 10**15, None), (-50.0, now, None)):
        arrival = Arrival([Wanted("out", str(tmp_path / "out"))], skew, str(tmp_path))
        arrival.take([0, "", "f", 0o644, told, 0, ""], lambda: iter([]), lambda: hashlib.sha256().hexdigest())
        assert arrival.finish() == ()
        found = (tmp_path / "out").stat().st_mtime_ns
        assert found == expected if expected is not None else found < now + 60 * 10**9


def test_long_names_have_a_part_that_fits(tmp_path):
    path = str(tmp_path / ("x" * 255))
    Path(part_of(path)).touch()
    assert part_of("out").startswith(".out")


def test_a_link_below_a_directory_that_is_a_link_here(tmp_path):
    """An earlier output may be a link to the working directory itself. Then `p/q` lies higher than it seems."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "p").symlink_to(".")
    arrival = Arrival([Wanted("p/q", str(work / "p" / "q"))], 0.0, str(work))
    with pytest.raises(MoveFailed) as failed:
        arrival.take([0, "", "l", 0o777, 0, 0, "../x"], lambda: iter([]), str)
    assert failed.value.kind == "unsafe"
