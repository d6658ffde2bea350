"""The plot of a table: its axes, its groups and their names."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

import plot  # noqa: E402

matplotlib = pytest.importorskip("matplotlib", reason="the plot needs it: pip install matplotlib")
matplotlib.use("Agg")


def table(*names, rows):
    return [dict(zip(names, map(str, row), strict=True)) for row in rows]


@pytest.fixture
def figure():
    """Return a function that draws a table with the columns x and y, and k for the groups."""

    def make(rows, color="k"):
        groups, labels = plot.series(rows, "x", "y", color)
        return plot.draw(groups, labels, "x", "y", color, matplotlib)

    yield make
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([10, 30, 100, 300], True),
        ([1e-6, 1e-3, 1, 1e-3], True),
        ([1, 2, 4, 8, 16, 32], True),
        (range(1, 101), False),
        ([100, 200, 400], False),
        ([0, 1, 10, 100, 1000], False),
        ([-1, 1, 10, 100, 1000], False),
        ([1, 1000], False),
        ([5, 5, 5], False),
        ([], False),
    ],
)
def test_an_axis_is_logarithmic_where_values_span_decades(values, expected):
    assert plot.is_logarithmic(values) is expected


def test_numbers_are_sorted_and_text_keeps_its_order():
    rows = table("x", "y", "k", rows=[(10, 1, "b"), (9, 2, "b"), (9, 3, "a")])
    assert plot.series(rows, "x", "y", "k") == ({"b": [(9, 2), (10, 1)], "a": [(9, 3)]}, [])
    assert plot.series(rows, "k", "y", "x") == ({"9": [(0, 2), (1, 3)], "10": [(0, 1)]}, ["b", "a"])


def test_a_missing_value_is_no_point_and_makes_no_axis_text():
    rows = table("x", "y", "k", rows=[(1, 2, "a"), ("", 3, "a"), ("nan", 3, "a"), (2, "", "a"), (3, "inf", "a")])
    assert plot.series(rows, "x", "y", "") == ({"": [(1, 2)]}, [])
    assert plot.series(rows, "x", "k", "") == ({}, [])


def test_several_values_of_one_x_are_points_and_the_line_is_their_mean(figure):
    line, dots = figure(table("x", "y", rows=[(1, 2), (1, 4), (2, 7)]), color=None).axes[0].lines
    assert list(map(tuple, line.get_xydata())) == [(1, 3), (2, 7)]
    assert list(map(tuple, dots.get_xydata())) == [(1, 2), (1, 4), (2, 7)]


def test_few_groups_are_named_beside_the_plot(figure):
    made = figure(table("x", "y", "k", rows=[(10**n, k * 10.0**-n, k) for n in range(4) for k in (10, 1, 5)]))
    (axes,), (legend,) = made.axes, made.legends
    assert legend.get_title().get_text() == "k"
    assert [text.get_text() for text in legend.get_texts()] == ["1", "5", "10"]
    assert axes.get_xscale() == axes.get_yscale() == "log"
    made.canvas.draw()
    assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
    assert [text.get_text() for text in axes.get_xticklabels()][1:-1] == ["1", "10", "100", "1000"]


@pytest.mark.parametrize("word", ["", "group "], ids=["numbers", "texts"])
def test_no_two_of_many_groups_have_one_colour(figure, word):
    made = figure(table("x", "y", "k", rows=[(n, n + k, f"{word}{k}") for n in range(3) for k in range(60)]))
    assert len({tuple(line.get_color()) for line in made.axes[0].lines}) == 60
    if word:
        (legend,) = made.legends
        assert legend.get_title().get_text() == "k\n(first 40 of 60)" and len(legend.get_texts()) == 40
    else:
        assert not made.legends and made.axes[1].get_ylabel() == "k"


def test_any_name_is_shown_as_it_is_and_the_picture_is_the_same_each_time(tmp_path):
    """Two dollar signs would be a formula, and a wrong one an error."""
    lines = ["$x_{$,y,k", r"$\foo$ with a name that is long,1,$\a$", "b,2,$$", "c,3,"] + [f"{n},1,5" for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for name in ("1.svg", "2.svg"):
        command = [sys.executable, str(SCRIPTS / "plot.py"), "t.csv", name, "$x_{$", "y", "k"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
