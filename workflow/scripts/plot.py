"""Plot a sweep's table: `python plot.py TABLE PICTURE X Y [COLOR]`. Only the controller needs matplotlib."""

import csv
import sys
from pathlib import Path


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def series(rows, x, y, color):
    """Return {value of the color column: [(x, y), ...]}, sorted by x. Text on the x axis keeps the table's order."""
    groups = {}
    numeric = all(number(row[x]) is not None for row in rows)
    for row in rows:
        value = number(row[y])
        if value is not None:
            point = (number(row[x]) if numeric else row[x], value)
            groups.setdefault(row[color] if color else "", []).append(point)
    if numeric:
        for points in groups.values():
            points.sort()
    return groups


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
    from matplotlib import pyplot

    with Path(table).open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    for column in filter(None, (x, y, color)):
        if rows and column not in rows[0]:
            sys.exit(f"plot: {table} has no column {column!r}; it has {', '.join(rows[0])}")
    lines = series(rows, x, y, color)
    if not lines:
        sys.exit(f"plot: {table} has no numbers in its column {y!r}")
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, points in lines.items():
        label = f"{color} = {name}" if color else None
        axes.plot(*zip(*points, strict=True), "o-", markersize=4, linewidth=1.2, label=label)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if color:
        axes.legend(fontsize="small", frameon=False)
    figure.savefig(picture, metadata={"Date": None} if picture.endswith(".svg") else None)


if __name__ == "__main__":
    main()
