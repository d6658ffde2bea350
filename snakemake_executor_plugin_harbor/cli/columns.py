"""Aligns a table as plain text. rich takes a second for a thousand rows, so it is used for short tables only."""

from collections.abc import Collection, Iterable, Iterator, Sequence


def columns(names: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> Iterator[str]:
    """Yield the lines of a table. The columns that `right` names are aligned to the right."""
    table = [names, *rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    signs = [">" if name in right else "<" for name in names]
    form = "  ".join(f"{{:{sign}{width}}}" for sign, width in zip(signs, widths, strict=True))
    for cells in table:
        yield form.format(*cells).rstrip()
