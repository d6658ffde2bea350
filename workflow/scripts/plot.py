"""Plot a sweep's table: `python plot.py TABLE PICTURE X Y [COLOR]`. Only the controller needs matplotlib."""

import csv
import math
import statistics
import sys
from pathlib import Path

# More groups than this need another palette than ten colours that are easy to tell apart.
FEW = 10
# So many groups are named beside the plot.
MOST_NAMES = 40
# A case that lacks a value has one of these in its place.
MISSING = {"", "na", "none", "null", "nan", "inf", "-inf"}
# An axis may be logarithmic from this ratio of its largest to its smallest value.
WIDE = 20


def number(text):
    """Return a finite number, or None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_numeric(cells):
    """Tell if a column holds numbers, at least where a value is not missing."""
    known = [cell for cell in cells if cell.lower() not in MISSING]
    return bool(known) and all(number(cell) is not None for cell in known)


def are_numbers(names):
    return all(number(name) is not None for name in names)


def is_logarithmic(values):
    """Tell if positive values lie far apart and more evenly on a logarithmic axis than on a linear one."""
    values = sorted(set(values))
    if len(values) < 3 or values[0] <= 0 or values[-1] < WIDE * values[0]:
        return False

    def off_centre(low, middle, high):
        return abs((middle - low) / (high - low) - 0.5)

    three = (values[0], statistics.median(values), values[-1])
    return off_centre(*map(math.log, three)) < off_centre(*three)


def series(rows, x, y, color):
    """Return {value of the color column: [(x, y), ...]}, sorted by x, and the x axis's labels if x is text.

    Groups with numbers as names have the order of these numbers, and text keeps the table's order. A row without a
    number for y has no point.
    """
    cells = [row[x] for row in rows]
    labels = [] if is_numeric(cells) else list(dict.fromkeys(cells))
    place = {label: at for at, label in enumerate(labels)}.get if labels else number
    groups = {}
    for row in rows:
        point = (place(row[x]), number(row[y]))
        if None not in point:
            groups.setdefault(row[color] if color else "", []).append(point)
    names = sorted(groups, key=number) if are_numbers(groups) else groups
    return {name: sorted(groups[name]) for name in names}, labels


def means(points):
    """Return one point per x, because a line through several values of one x would only go up and down."""
    values = {}
    for x, y in points:
        values.setdefault(x, []).append(y)
    return [(x, statistics.fmean(ys)) for x, ys in values.items()]


def colors(names, matplotlib):
    """Return a colour for each group, and a scale of colours if there are too many numbers for a list of names."""
    from matplotlib.colors import ListedColormap, LogNorm, Normalize

    maps = matplotlib.colormaps
    ranks = [at / max(1, len(names) - 1) for at in range(len(names))]
    if not are_numbers(names):
        return (maps["tab10"].colors[: len(names)] if len(names) <= FEW else maps["turbo"](ranks)), None
    # The last colours of this palette are too light for a white page.
    palette = ListedColormap(maps["viridis"](range(0, 225)))
    if len(names) <= FEW:
        return palette(ranks), None
    values = [number(name) for name in names]
    norm = (LogNorm if is_logarithmic(values) else Normalize)(min(values), max(values))
    scale = matplotlib.cm.ScalarMappable(norm, palette)
    return scale.to_rgba(values), scale


def as_it_is(*texts):
    """A `$` in the user's text begins no formula."""
    for text in texts:
        text.set_parse_math(False)


def name_groups(figure, lines, color):
    """Name the groups beside the plot, where the names hide no point."""
    names = list(lines)[:MOST_NAMES]
    title = color if len(names) == len(lines) else f"{color}\n(first {len(names)} of {len(lines)})"
    legend = figure.legend(
        [lines[name] for name in names],
        [name or "(empty)" for name in names],
        title=title,
        loc="outside right upper",
        ncols=math.ceil(len(names) / 20),
        fontsize="small",
        title_fontsize="small",
        frameon=False,
    )
    as_it_is(legend.get_title(), *legend.get_texts())


def label_text(axes, labels):
    """Write the values of a text axis. Long ones stand upright, and of very many only some are written."""
    step = math.ceil(len(labels) / 50)
    shown = labels[::step]
    axes.set_xticks(range(0, len(labels), step), [label or "(empty)" for label in shown])
    if sum(map(len, shown)) > 60:
        axes.tick_params(axis="x", rotation=90, labelsize="small")
    as_it_is(*axes.get_xticklabels())


def draw(groups, labels, x, y, color, matplotlib):
    """Return the figure."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    shades, scale = colors(list(groups), matplotlib)
    lines = {}
    for shade, (name, points) in zip(shades, groups.items(), strict=True):
        (line,) = axes.plot(*zip(*means(points), strict=True), "-", linewidth=1.2, color=shade)
        (dots,) = axes.plot(*zip(*points, strict=True), "o", markersize=4, color=shade)
        lines[name] = (line, dots)
    xs, ys = zip(*(point for points in groups.values() for point in points), strict=True)
    if labels:
        label_text(axes, labels)
    elif is_logarithmic(xs):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    elif all(map(float.is_integer, xs)):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if is_logarithmic(ys):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    as_it_is(axes.set_xlabel(x), axes.set_ylabel(y))
    axes.grid(alpha=0.3)
    if scale:
        as_it_is(figure.colorbar(scale, ax=axes).ax.set_ylabel(color))
    elif color:
        name_groups(figure, lines, color)
    return figure


def main():
    csv.field_size_limit(2**31 - 1)
    table, picture, x, y = sys.argv[1:5]
    color = sys.argv[5] if len(sys.argv) > 5 else None
    try:
        import matplotlib
    except ImportError:
        sys.exit(
            f"The plot needs matplotlib, which {sys.executable} does not have.\n"
            f"  Try: {sys.executable} -m pip install matplotlib   # or take `plot:` out of the sweep's configuration"
        )
    matplotlib.use("Agg")
    # With a fixed salt, the same table gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "harbor"
    with Path(table).open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    for column in filter(None, (x, y, color)):
        if rows and column not in rows[0]:
            sys.exit(f"plot: {table} has no column {column!r}; it has {', '.join(rows[0])}")
    groups, labels = series(rows, x, y, color)
    if not groups:
        sys.exit(f"plot: {table} has no numbers in its column {y!r}")
    figure = draw(groups, labels, x, y, color, matplotlib)
    figure.savefig(picture, metadata={"Date": None} if picture.endswith(".svg") else None)


if __name__ == "__main__":
    main()
