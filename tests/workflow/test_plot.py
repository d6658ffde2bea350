"""The plot of a table: its axes, its groups and their names, as lines, points, bars and heatmaps, and in panels."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

import plot  # noqa: E402
import plot_columns  # noqa: E402
import plot_data  # noqa: E402

matplotlib = pytest.importorskip("matplotlib", reason="the plot needs it: pip install matplotlib")
matplotlib.use("Agg")

import plot_drawing  # noqa: E402


def table(*names, rows):
    return [dict(zip(names, map(str, row), strict=True)) for row in rows]


def series(rows, x, y, color):
    """Return {group: points}, and the labels of the axis x."""
    keys = {"kind": "line", "where": "plot", "x": x, "y": y}
    axes = plot_data.Axis(keys, "x", rows), plot_data.Axis(keys, "y", rows)
    groups = plot_data.split(plot_data.usable(keys, rows, *axes), color)
    return {name: plot_data.points(members, *axes) for name, members in groups.items()}, axes[0].labels


@pytest.fixture
def figure():
    """Return a function that draws a table with the columns x and y, and k for the groups."""

    def make(rows, **keys):
        keys = {"kind": "line", "where": "sweeps.s.plot", "x": "x", "y": "y", "color": "k", **keys}
        made = plot_drawing.draw({key: value for key, value in keys.items() if value is not None}, rows)
        made.canvas.draw()
        return made

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
    assert plot_data.is_logarithmic(values) is expected


def test_numbers_are_sorted_and_text_keeps_its_order():
    rows = table("x", "y", "k", rows=[(10, 1, "b"), (9, 2, "b"), (9, 3, "a")])
    assert series(rows, "x", "y", "k") == ({"b": [(9, 2), (10, 1)], "a": [(9, 3)]}, [])
    assert series(rows, "k", "y", "x") == ({"9": [(0, 2), (1, 3)], "10": [(0, 1)]}, ["b", "a"])


def test_a_missing_value_is_no_point_and_makes_no_axis_text():
    rows = table("x", "y", "k", rows=[(1, 2, "a"), ("", 3, "a"), ("nan", 3, "a"), (2, "", "a"), (3, "inf", "a")])
    assert series(rows, "x", "y", "") == ({"": [(1, 2)]}, [])
    assert series(rows, "x", "k", "") == ({}, [])


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


LABELS = {
    "capacitance_nF": "capacitance (nF)", "junction_temperature_K": "junction_temperature (K)", "v_m_per_s": "v (m/s)",
    "density_kg_per_m3": "density (kg/m³)", "area_mm2": "area (mm²)", "noise.total_dB": "noise.total (dB)",
    "size_KiB": "size (KiB)", "x_min": "x_min", "loss_x": "loss_x", "nF": "nF", "_s": "_s", "m_per_s": "m_per_s",
    "hits_per_s": "hits_per_s", "mem_mb": "mem_mb",
}  # fmt: skip


def test_a_unit_at_the_end_of_a_name_stands_in_brackets(figure):
    assert {name: plot_data.label(name) for name in LABELS} == LABELS
    rows = table("x_s", "y_nF", "k_m2", rows=[(1, 2, 3)])
    made = figure(rows, x="x_s", y="y_nF", color="k_m2", facet="k_m2", title="$1$")
    assert (made.axes[0].get_title(), made.get_suptitle()) == ("k (m²) = 3", "$1$")
    assert made.legends[0].get_title().get_text() == "k (m²)"
    assert (made.axes[0].get_xlabel(), made.axes[0].get_ylabel()) == ("x (s)", "y (nF)")


def test_axes_are_logarithmic_as_told_and_a_value_below_zero_has_no_place_there(figure):
    rows = table("x", "y", rows=[(1, 2), (2, 0), (3, -1), (4, 5)])
    (axes,) = figure(rows, color=None, logx=True, logy=True, kind="scatter").axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [tuple(point) for dots in axes.lines for point in dots.get_xydata()] == [(1, 2), (4, 5)]
    wide = table("x", "y", rows=[(10**n, 10**n) for n in range(4)])
    (axes,) = figure(wide, color=None, logx=False, logy=False).axes
    assert axes.get_xscale() == axes.get_yscale() == "linear"


def test_bars_are_means_beside_each_other_with_whiskers(figure):
    rows = table("x", "y", "k", rows=[(10, 2, "a"), (10, 4, "a"), (9, 5, "a"), (9, 6, "b"), (10, "", "b")])
    (axes,) = figure(rows, kind="bar").axes
    assert [bar.get_center()[0] for bar in axes.patches] == pytest.approx([-0.2, 0.8, 0.2])
    assert [bar.get_height() for bar in axes.patches] == [5, 3, 6]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["9", "10"] and axes.get_ylim()[0] == 0
    (whiskers,) = [each for each in axes.collections if len(each.get_segments()) == 2]
    assert [segment[:, 1].tolist() for segment in whiskers.get_segments()] == [[5, 5], [2, 4]]


def test_a_bar_that_no_other_group_meets_has_the_whole_width(figure):
    (axes,) = figure(table("x", "y", "k", rows=[("a", 1, 10), ("b", 2, 20)]), kind="bar").axes
    assert [(bar.get_center()[0], bar.get_width()) for bar in axes.patches] == [(0, 0.8), (1, 0.8)]


def test_a_heatmap_has_a_cell_for_each_pair_of_values(figure):
    rows = table("x", "y", "k", rows=[(2, "b", 1), (2, "b", 3), (10, "b", 5), (10, "a", 7), (2, "a", "")])
    axes, bar = figure(rows, kind="heatmap").axes
    (mesh,) = [each for each in axes.collections if isinstance(each, matplotlib.collections.QuadMesh)]
    assert mesh.get_array().tolist() == [[2, 5], [None, 7]] and bar.get_ylabel() == "k"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "10"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["b", "a"]
    alone = table("x", "y", "k", rows=[(n, n, n) for n in range(60)])
    with pytest.raises(plot_data.PlotError, match="60 values would be alone in 3600 cells") as error:
        figure(alone, kind="heatmap")
    assert "Try: kind: scatter" in str(error.value)


@pytest.mark.parametrize("kind", ["line", "heatmap"])
def test_panels_share_their_axes_and_colours_and_are_not_too_many(figure, kind):
    rows = table("x", "y", "k", "f", rows=[(n % 2, 1 + n // 2, n % 3 + f, f) for n in range(4) for f in range(20)])
    made = figure(rows, kind=kind, facet="f", title="Many")
    panels = [axes for axes in made.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"f = {number}" for number in range(16)]
    assert made.get_suptitle() == "Many\n(first 16 of 20 values of f)"
    assert (made.get_supxlabel(), made.get_supylabel()) == ("x", "y")
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert len(made.axes) == 17, "there is one scale of colours"


@pytest.mark.parametrize("kind", ["line", "scatter", "bar", "heatmap"])
@pytest.mark.parametrize("count", [1, 2])
def test_one_case_and_two_cases_are_a_plot(figure, kind, count):
    rows = table("x", "y", "k", rows=[(1, 2, 3), (2, 4, 5)][:count])
    axes = figure(rows, kind=kind).axes[0]
    assert len([*axes.lines, *axes.patches, *axes.collections]) >= 1 and axes.get_xlim()[0] < axes.get_xlim()[1]


FAULTS = [
    ({"y": "z"}, 'plot.y: there is no column \'z\'\n  The columns are xx, y'),
    ({"x": "yy"}, 'plot.x: there is no column \'yy\'; did you mean "y"?'),
    ({"y": "xx"}, "plot.y: the column 'xx' has no numbers to draw"),
    ({"logx": True}, "plot.logx: the column 'xx' holds text, and no numbers"),
    ({"logy": True}, "plot.y: the column 'y' has no positive numbers to draw"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "text"), FAULTS, ids=[fault[1][:30] for fault in FAULTS])
def test_a_plot_that_cannot_be_drawn_names_its_key(tmp_path, monkeypatch, keys, text):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("xx,y\na,-1\nb,0\n")
    plot_keys = json.dumps({"kind": "line", "where": "sweeps.s.plot", "x": "xx", "y": "y", **keys})
    monkeypatch.setattr(sys, "argv", ["plot.py", "t.csv", plot_keys, "p.svg"])
    with pytest.raises(SystemExit) as error:
        plot.main()
    assert text in str(error.value) and not Path("p.svg").exists()


def test_a_column_that_some_case_has_is_a_column_and_any_other_one_is_not(tmp_path, monkeypatch):
    """The first case lacks a column, the second has no result that can be read, and the last has not ended."""
    monkeypatch.chdir(tmp_path)
    cases = [{"case": f"c{n}", "params": {"x": f"{n}"}, "file": f".steps/post/c{n}", "ran": ""} for n in range(4)]
    Path("spec").write_text(json.dumps({"parameters": ["x"], "cases": cases, "result": "r.json"}))
    Path("results/s/.steps/post").mkdir(parents=True)
    for case, result in (("c0", {"x": 0, "time_s": 1}), ("c1", None), ("c2", {"x": 3, "time_s": 2, "drag": 3})):
        Path(f"results/s/.steps/post/{case}").write_text(json.dumps(result) if result else "")
    done = Path("results/s/.steps/columns")

    def check(**columns):
        keys = json.dumps({"where": "sweeps.s.plot[1]", "x": "x", **columns})
        monkeypatch.setattr(sys, "argv", ["plot_columns.py", str(done), "spec", keys])
        plot_columns.main()

    with pytest.raises(SystemExit) as error:
        check(y="drag", facet="time")
    assert str(error.value) == (
        """sweeps.s.plot[1].facet: there is no column 'time'; did you mean "time_s"?\n"""
        "  The columns are case, x, time_s, result.x, drag (cases that have ended: 3 of 4)\n"
        "  Try: correct the configuration and start again; no case runs again"
    )
    assert not done.exists()
    check(y="drag", color="result.x", facet="case")
    assert done.exists()


def run(directory, keys, *pictures):
    text = json.dumps({"kind": "line", "where": "sweeps.s.plot", **keys})
    command = [sys.executable, str(SCRIPTS / "plot.py"), "t.csv", text, *pictures]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_any_name_is_shown_as_it_is_and_the_picture_is_the_same_each_time(tmp_path):
    """Two dollar signs would be a formula, and a wrong one an error."""
    lines = ["$x_{$,y,k", r"$\foo$ with a name that is long,1,$\a$", "b,2,$$", "c,3,"] + [f"{n},1,5" for n in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for number in (1, 2):
        done = run(tmp_path, {"x": "$x_{$", "y": "y", "color": "k"}, f"{number}.svg", f"{number}.png")
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
    assert (tmp_path / "1.png").read_bytes()[1:4] == b"PNG"
