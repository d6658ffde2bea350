"""Turn the rows of a table into the axes, panels, groups and points of a plot. This module needs no matplotlib."""

import difflib
import math
import re
import statistics

# A case that lacks a value has one of these in its place.
MISSING = {"", "na", "none", "null", "nan", "inf", "-inf"}
# An axis may be logarithmic from this ratio of its largest to its smallest value.
WIDE = 20
# The keys of a plot that name a column.
COLUMNS = ("x", "y", "color", "facet")
# So many columns are named in an error.
MOST_COLUMNS = 40

UNIT = re.compile(
    r"([fpnuµmkMGT]?(m|s|g|A|K|V|W|J|N|F|H|S|T|C|Pa|Hz|eV|ohm|Ohm|mol|bar)|[mun]L|([kMGT]|[KMGT]i)B|cm|dB|dBm|deg|degC|rad|rpm"
    r"|h|percent)(?P<power>[23]?)"
)
POWERS = {"": "", "2": "²", "3": "³"}


class PlotError(Exception):
    """A plot cannot be drawn. The message begins with its key in the configuration."""


def label(column):
    """Return the name of an axis: `capacitance_nF` becomes `capacitance (nF)`, `v_m_per_s` becomes `v (m/s)`.

    Only the units that UNIT lists count, so that `x_min` stays as it is.
    """
    name, _, last = column.rpartition("_")
    above, below = None, UNIT.fullmatch(last)
    if name.endswith("_per"):
        name, _, first = name[: -len("_per")].rpartition("_")
        above = UNIT.fullmatch(first)
        if not above:
            return column
    if not name or not below:
        return column
    return f"{name} ({shown(above)}/{shown(below)})" if above else f"{name} ({shown(below)})"


def shown(unit):
    return unit[1] + POWERS[unit["power"]]


def value_key(plot):
    """Return the key whose column has to hold numbers."""
    return "color" if plot["kind"] == "heatmap" else "y"


def no_column(plot, key, columns):
    """Return the sentence for a column that is not there."""
    close = difflib.get_close_matches(plot[key], columns, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    names = ", ".join(columns[:MOST_COLUMNS]) + (", ..." if len(columns) > MOST_COLUMNS else "")
    return f"{plot['where']}.{key}: there is no column {plot[key]!r}{hint}\n  The columns are {names}"


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


def split(rows, column):
    """Return {value of a column: its rows}. Numbers are sorted, and text keeps the table's order."""
    groups = {}
    for row in rows:
        groups.setdefault(row[column] if column else "", []).append(row)
    return {name: groups[name] for name in (sorted(groups, key=number) if are_numbers(groups) else groups)}


class Axis:
    """Where the values of a column stand. On an axis with `labels`, each value has a place of the same width."""

    def __init__(self, plot, key, rows):
        self.column = plot[key]
        cells = [row[self.column] for row in rows]
        even = plot["kind"] == "heatmap" or (plot["kind"] == "bar" and key == "x")
        numeric = is_numeric(cells)
        # Only numbers have a place on the axis y of lines, points and bars.
        self.labels = [] if not even and (numeric or key == "y") else self._places(cells, numeric)
        self._at = {text: place for place, text in enumerate(self.labels)}
        self.log = plot.get(f"log{key}")
        if self.log and self.labels:
            raise PlotError(f"{plot['where']}.log{key}: the column {self.column!r} holds text, and no numbers")
        if self.log is None:
            found = [value for value in map(self.place, cells) if value is not None]
            # A logarithmic axis has no zero, where bars begin.
            self.log = not self.labels and plot["kind"] != "bar" and is_logarithmic(found)
        self.whole = not self.labels and all((self.place(cell) or 0) % 1 == 0 for cell in cells)

    @staticmethod
    def _places(cells, numeric):
        different = dict.fromkeys(cells)
        return sorted((cell for cell in different if number(cell) is not None), key=number) if numeric else [*different]

    def place(self, text):
        """Return the place of a value, or None if it has none on this axis."""
        if self.labels:
            return self._at.get(text)
        value = number(text)
        return None if value is None or (self.log and value <= 0) else value


def usable(plot, rows, x, y):
    """Return the rows that have a place in the plot and a number there."""
    value = plot["color"] if plot["kind"] == "heatmap" else y.column
    return [row for row in rows if None not in (x.place(row[x.column]), y.place(row[y.column]), number(row[value]))]


def points(rows, x, y):
    """Return [(x, y), ...], sorted by x. A row that lacks a value has no point."""
    found = ((x.place(row[x.column]), y.place(row[y.column])) for row in rows)
    return sorted(point for point in found if None not in point)


def by_place(found):
    """Return {x: its values of y}."""
    values = {}
    for x, y in found:
        values.setdefault(x, []).append(y)
    return values


def means(found):
    """Return one point per x, because a line through several values of one x would only go up and down."""
    return [(x, statistics.fmean(ys)) for x, ys in by_place(found).items()]


def cells(rows, x, y, column):
    """Return {(x, y): mean of the values there} of a heatmap."""
    values = {}
    for row in rows:
        at, value = (x.place(row[x.column]), y.place(row[y.column])), number(row[column])
        if value is not None and None not in at:
            values.setdefault(at, []).append(value)
    return {at: statistics.fmean(found) for at, found in values.items()}
