"""Draw a plot with matplotlib: lines, points, bars or a heatmap, in one panel or in several."""

import math

import matplotlib
from matplotlib import pyplot
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.ticker import NullFormatter
from plot_data import (
    Axis,
    PlotError,
    are_numbers,
    by_place,
    cells,
    is_logarithmic,
    label,
    means,
    number,
    points,
    split,
    usable,
    value_key,
)

# More groups than this need another palette than ten colours that are easy to tell apart.
FEW = 10
# So many groups are named beside the plot.
MOST_NAMES = 40
# So many panels are drawn.
MOST_PANELS = 16
# From this number on, points are small and bars have no whiskers.
MANY = 200
# Longer names are cut.
LONGEST_NAME = 40
# A heatmap with fewer values than one per this number of cells would look empty.
SPARSE = 50


def draw(plot, rows):
    """Return the figure of a plot. Raises PlotError if there is nothing to draw."""
    x, y = Axis(plot, "x", rows), Axis(plot, "y", rows)
    color = plot.get("color")
    drawn = usable(plot, rows, x, y)
    if not drawn:
        key = value_key(plot)
        kind = "positive numbers" if plot.get(f"log{key}") else "numbers"
        raise PlotError(f"{plot['where']}.{key}: the column {plot[key]!r} has no {kind} to draw")
    panels = split(drawn, plot.get("facet"))
    names = list(panels)[:MOST_PANELS]
    figure, grid = _grid(len(names))
    axes = dict(zip(names, grid, strict=True))
    if plot["kind"] == "heatmap":
        _heatmaps(figure, axes, panels, x, y, color, plot)
    else:
        _groups(figure, axes, panels, x, y, color, plot["kind"], split(drawn, color))
    for each in grid:
        _scale(each, x, y, plot["kind"], len(grid))
    # Names that stand upright need their height below the plot.
    upright = [len(text.get_text()) for text in grid[-1].get_xticklabels() if text.get_rotation()]
    figure.set_figheight(figure.get_figheight() + 0.07 * max(upright, default=0))
    _name_axes(figure, grid, x, y)
    _name_panels(figure, axes, len(panels), plot)
    return figure


def _grid(count):
    """Return a figure and the axes of its panels, which share their scales."""
    columns = count if count < 4 else math.ceil(math.sqrt(count))
    lines = math.ceil(count / columns)
    size = (7, 4.5) if count == 1 else (1.6 + 2.7 * columns, 0.9 + 2.3 * lines)
    figure, grid = pyplot.subplots(
        lines, columns, figsize=size, layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    panels = list(grid.flat)
    for each in panels[count:]:
        each.remove()
    for each in panels[max(0, count - columns) : count]:
        # Below this panel there is no other one that shows the values.
        each.tick_params(labelbottom=True)
    return figure, panels[:count]


# --- groups in colours ----------------------------------------------------------------------------------------------


def _groups(figure, axes, panels, x, y, color, kind, groups):
    """Draw each group of the column `color` in a colour of its own, the same in all panels."""
    shades, scale = colors(list(groups))
    shade_of = dict(zip(groups, shades, strict=True))
    xs = [{x.place(row[x.column]) for row in members} for members in groups.values()]
    # If no two groups meet at a value of x, each bar has the whole width there.
    alone = sum(map(len, xs)) == len(set().union(*xs))
    handles = {}
    for name, rows in panels.items():
        if name not in axes:
            continue
        found = {group: points(members, x, y) for group, members in split(rows, color).items()}
        many = sum(map(len, found.values())) > MANY
        for group, members in found.items():
            place = (0, 1) if alone else (list(groups).index(group), len(groups))
            handles[group] = KINDS[kind](axes[name], members, shade_of[group], place, many)
    if scale:
        as_it_is(figure.colorbar(scale, ax=list(axes.values())).ax.set_ylabel(label(color)))
    elif color:
        _name_groups(figure, {name: handles[name] for name in groups if name in handles}, color)


def _line(axes, found, shade, place, many):
    (line,) = axes.plot(*zip(*means(found), strict=True), "-", linewidth=1.2, color=shade)
    return (line, _scatter(axes, found, shade, place, many))


def _scatter(axes, found, shade, place, many):
    (dots,) = axes.plot(*zip(*found, strict=True), "o", markersize=2.5 if many else 4, color=shade)
    return dots


def _bars(axes, found, shade, place, many):
    """Draw the means as bars beside those of the other groups. A whisker goes from the lowest value to the highest."""
    at, count = place
    width = 0.8 / count
    values = by_place(found)
    heights = [height for _, height in means(found)]
    whiskers = None
    if not many and len(values) < len(found):
        lowest, highest = map(min, values.values()), map(max, values.values())
        whiskers = [
            [height - low for height, low in zip(heights, lowest, strict=True)],
            [high - height for height, high in zip(heights, highest, strict=True)],
        ]
    places = [value + (at - (count - 1) / 2) * width for value in values]
    return axes.bar(places, heights, width, yerr=whiskers, color=shade, error_kw={"elinewidth": 0.8, "ecolor": "0.3"})


KINDS = {"line": _line, "scatter": _scatter, "bar": _bars}


def colors(names):
    """Return a colour for each group, and a scale of colours if there are too many numbers for a list of names."""
    maps = matplotlib.colormaps
    ranks = [at / max(1, len(names) - 1) for at in range(len(names))]
    if not are_numbers(names):
        return (maps["tab10"].colors[: len(names)] if len(names) <= FEW else maps["turbo"](ranks)), None
    # The last colours of this palette are too light for a white page.
    palette = ListedColormap(maps["viridis"](range(0, 225)))
    if len(names) <= FEW:
        return palette(ranks), None
    values = [number(name) for name in names]
    scale = matplotlib.cm.ScalarMappable(_norm(values), palette)
    return scale.to_rgba(values), scale


def _norm(values):
    return (LogNorm if is_logarithmic(values) else Normalize)(min(values), max(values))


def _name_groups(figure, handles, color):
    """Name the groups beside the plot, where the names hide no point."""
    names = list(handles)[:MOST_NAMES]
    title = label(color) if len(names) == len(handles) else f"{label(color)}\n(first {len(names)} of {len(handles)})"
    legend = figure.legend(
        [handles[name] for name in names],
        [_short(name) for name in names],
        title=title,
        loc="outside right upper",
        ncols=math.ceil(len(names) / 20),
        fontsize="small",
        title_fontsize="small",
        frameon=False,
    )
    as_it_is(legend.get_title(), *legend.get_texts())


# --- heatmaps -------------------------------------------------------------------------------------------------------


def _heatmaps(figure, axes, panels, x, y, color, plot):
    """Draw a rectangle for each pair of values. It is grey where no case has a value."""
    found = {name: cells(panels[name], x, y, color) for name in axes}
    values = [value for panel in found.values() for value in panel.values()]
    room = len(x.labels) * len(y.labels) * len(axes)
    if room > SPARSE * len(values):
        raise PlotError(
            f"{plot['where']}.kind: a heatmap needs a grid, and {len(values)} values would be alone in {room} cells\n"
            "  Try: kind: scatter"
        )
    norm = _norm(values)
    for name, each in axes.items():
        picture = [[found[name].get((i, j), math.nan) for i in range(len(x.labels))] for j in range(len(y.labels))]
        each.set_facecolor("0.88")
        image = each.pcolormesh(_edges(x), _edges(y), picture, norm=norm, rasterized=True)
    as_it_is(figure.colorbar(image, ax=list(axes.values())).ax.set_ylabel(label(color)))


def _edges(axis):
    return [place - 0.5 for place in range(len(axis.labels) + 1)]


# --- axes and names -------------------------------------------------------------------------------------------------


def _scale(axes, x, y, kind, panels):
    if kind != "heatmap":
        axes.grid(alpha=0.3, axis="y" if kind == "bar" else "both")
        axes.set_axisbelow(True)
    if kind == "bar":
        # One or two bars do not fill the whole plot.
        margin = max(0.6, (4 - len(x.labels)) / 2)
        axes.set_xlim(-margin, len(x.labels) - 1 + margin)
    for axis, which, set_scale in ((axes.xaxis, x, axes.set_xscale), (axes.yaxis, y, axes.set_yscale)):
        if which.labels:
            _write_labels(axes, axis, which.labels, panels)
        elif which.log:
            set_scale("log")
            axis.set_major_formatter("{x:g}")
            low, high = axis.get_view_interval()
            # An axis of less than a decade has one number or none, unless the numbers between are written, too.
            axis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
        elif which.whole and axis is axes.xaxis:
            axis.get_major_locator().set_params(integer=True)


def _write_labels(axes, axis, labels, panels):
    """Write the values of an axis. Long ones stand upright, and of very many only some are written."""
    on_x = axis is axes.xaxis
    room = 1 if panels == 1 else 2
    step = math.ceil(len(labels) * room / (50 if on_x else 25))
    shown = [f"{number(text):.10g}" if number(text) is not None else _short(text) for text in labels[::step]]
    axis.set_ticks(range(0, len(labels), step), shown)
    if on_x and max(map(len, shown)) * len(shown) * room > 60:
        axes.tick_params(axis="x", rotation=90, labelsize="small")
    as_it_is(*axis.get_ticklabels())


def _name_axes(figure, panels, x, y):
    """Name both axes once, also if there are several panels."""
    if len(panels) == 1:
        as_it_is(panels[0].set_xlabel(label(x.column)), panels[0].set_ylabel(label(y.column)))
    else:
        as_it_is(figure.supxlabel(label(x.column), fontsize="medium"))
        as_it_is(figure.supylabel(label(y.column), fontsize="medium"))


def _name_panels(figure, axes, count, plot):
    lines = [plot["title"]] if "title" in plot else []
    if count > len(axes):
        lines.append(f"(first {len(axes)} of {count} values of {plot['facet']})")
    if lines:
        as_it_is(figure.suptitle("\n".join(lines), fontsize="medium"))
    if "facet" in plot:
        for name, each in axes.items():
            as_it_is(each.set_title(f"{label(plot['facet'])} = {_short(name)}", fontsize="small"))


def _short(name):
    return (name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…") or "(empty)"


def as_it_is(*texts):
    """A `$` in the user's text begins no formula."""
    for text in texts:
        text.set_parse_math(False)
