"""Plot a sweep's table: `python plot.py TABLE PLOT PICTURE...`. Only the controller needs matplotlib.

PLOT is JSON: the keys of the plot in the configuration, and `where`, the place of these keys.
"""

import csv
import json
import sys
from pathlib import Path

from plot_data import COLUMNS, PlotError, no_column


def read(table):
    csv.field_size_limit(2**31 - 1)
    with Path(table).open(newline="", encoding="utf-8") as f:
        reader = csv.DictReader(f)
        return list(reader), list(reader.fieldnames or ())


def main():
    table, plot, pictures = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
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
    # This module imports matplotlib.
    import plot_drawing

    rows, columns = read(table)
    for key in COLUMNS:
        if key in plot and plot[key] not in columns:
            sys.exit(no_column(plot, key, columns))
    try:
        figure = plot_drawing.draw(plot, rows)
    except PlotError as error:
        sys.exit(str(error))
    for picture in pictures:
        figure.savefig(picture, dpi=150, metadata={"Date": None} if picture.endswith(".svg") else None)


if __name__ == "__main__":
    main()
