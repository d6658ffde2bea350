"""A table on the screen whose rows may have a note, such as the reason why a node is not used."""

from collections.abc import Iterator
from typing import Any

INDENT = 4
GAP = 2
SHORTEST = 8
"""The column that gives way keeps this width."""


class NotedTable:
    """A table of rich in which each row takes one line, and may have a note.

    A note stands behind its row if it fits there, or below it, where it has the whole width. In a column of its own, a
    sentence would be squeezed to some letters per line.
    """

    def __init__(self, table: Any, gives_way: str) -> None:
        """`table` has all its columns and no row yet. If it is too wide, the column `gives_way` is cut."""
        self._table = table
        self._gives_way = next(column for column in table.columns if column.header == gives_way)
        self._notes = [("", "")]  # this one is the header's
        for column in table.columns:
            column.no_wrap = True

    def add_row(self, *cells: Any, note: str = "", style: str = "") -> None:
        self._table.add_row(*cells, style=style)
        self._notes.append((note, style))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.padding import Padding
        from rich.segment import Segment
        from rich.text import Text

        self._fit(console, options)
        lines = console.render_lines(self._table, options, pad=False)
        for line, (note, style) in zip(lines, self._notes, strict=True):
            yield from line
            text = Text(note, style=style)
            fits = Segment.get_line_length(line) + GAP + text.cell_len <= options.max_width
            if note and fits:
                yield from Text(" " * GAP + note, style=style).render(console)
            yield Segment.line()
            if note and not fits:
                yield Padding(text, (0, 0, 0, INDENT), expand=False)

    def _fit(self, console: Any, options: Any) -> None:
        """Cut one column by what the table is too wide, because rich would cut some letters of every column."""
        from rich.cells import cell_len

        column = self._gives_way
        column.max_width = None
        excess = console.measure(self._table, options=options.update(max_width=10_000)).maximum - options.max_width
        if excess > 0:
            column.max_width = max(SHORTEST, max(map(cell_len, map(str, column.cells))) - excess)
