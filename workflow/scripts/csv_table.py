"""Read CSV and TSV with the line number of every row, and write CSV in which every reader finds the same cells.

The cases of a configuration and the results of cases are read with this module. It needs the standard library only. The
csv module of Python does not suffice: it does not say on which line a row begins or if a cell was quoted, and it writes
a lone carriage return without quotes.
"""

import re
from pathlib import Path

NEEDS_QUOTES = re.compile(r'[",\x00-\x1f\x7f\x85\u2028\u2029]|^\s|\s$')


class TableError(ValueError):
    """Something is wrong with a table on the given line, or with the whole file if the line is 0."""

    def __init__(self, line, message):
        super().__init__(f"line {line}: {message}" if line else message)
        self.line, self.message = line, message


class Cell(str):
    """The text of a cell."""

    quoted = False


class Quoted(Cell):
    quoted = True


def decode(path):
    """Return the text of a file in UTF-8, with or without a byte order mark. A NUL character is an error."""
    data = Path(path).read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableError(0, "it cannot be read as text: it is UTF-16\n  Try: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise TableError(line, f"it cannot be read as text: the byte 0x{byte:02x} is no UTF-8") from None
    if "\0" in text:
        raise TableError(text.count("\n", 0, text.index("\0")) + 1, "a NUL character, which no text has")
    return text


def rows(text, delimiter):
    """Yield (line, cells) of every row. A cell is Quoted or Cell. A line break is LF, CR LF or CR."""
    # A lone carriage return ends a line only if all lines of the file end in this way.
    stray = re.compile("\r(?!\n)") if "\n" in text else None
    if '"' not in text:
        if stray and stray.search(text):
            before = text[: stray.search(text).start()]
            raise TableError(before.count("\n") + 1, "a carriage return in a cell without quotes")
        lines = re.split("\r\n|\r|\n", text)
        for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
            yield number, [Cell(cell) for cell in line.split(delimiter)]
        return
    blank = "[ \t]*" if delimiter != "\t" else "[ ]*"
    sep = re.escape(delimiter)
    cell = re.compile(
        rf'(?:{blank}"((?:[^"]|"")*)"{blank}(?={sep}|\r|\n|\Z)|((?!{blank}")[^{sep}\r\n]*))({sep}|\r\n|\r|\n|\Z)'
    )
    line, position, cells, begin = 1, 0, [], 1
    while position < len(text) or cells:
        match = cell.match(text, position)
        if match is None:
            raise TableError(
                line, 'a quote (") that opens a cell is not closed, or text follows the one that closes it'
            )
        quoted, plain, end = match.groups()
        if quoted is None:
            cells.append(Cell(plain))
        else:
            cells.append(Quoted(quoted.replace('""', '"')))
            line += len(re.findall("\r\n|\r|\n", quoted))
        position = match.end()
        if end == "\r" and stray:
            raise TableError(line, "a carriage return in a cell without quotes")
        if end != delimiter:
            yield begin, cells
            line += 1
            cells, begin = [], line


def read(path, delimiter):
    """Return (line of the header, header, [(line, cells)]). Empty lines and empty columns at the end are left out."""
    found = [(line, cells) for line, cells in rows(decode(path), delimiter) if len(cells) > 1 or not blank(cells)]
    if not found:
        raise TableError(0, "it is empty")
    line, header = found[0]
    header = [name if name.quoted else Cell(name.strip()) for name in header]
    if header[0].strip().lower() == "sep=" or re.fullmatch(r"sep=.?", header[0].strip().lower()):
        raise TableError(line, f"{','.join(header)!r} is a note for spreadsheets, not the columns' names: take it out")
    wrong = _separator(header, delimiter)
    count = len(header)
    while count > 1 and not header[count - 1].strip() and all(blank(cells[count - 1 :]) for _, cells in found[1:]):
        count -= 1
    header = header[:count]
    found = [(at, cells[:count]) if blank(cells[count:]) else (at, cells) for at, cells in found]
    for number, name in enumerate(header, 1):
        if not name.strip():
            raise TableError(line, f"a column has no name: number {number} of {len(header)}")
    seen = set()
    for name in header:
        if name in seen:
            raise TableError(line, f"the column {str(name)!r} is there twice")
        seen.add(name)
    for at, cells in found[1:]:
        if len(cells) != len(header) and not blank(cells):
            amount = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            columns = "1 column" if len(header) == 1 else f"{len(header)} columns"
            names = ", ".join(header[:10]) + (", ..." if len(header) > 10 else "")
            raise TableError(at, f"{amount}, but {columns} ({names}){wrong and '; ' + wrong}")
    if wrong:
        raise TableError(line, wrong)
    return line, header, [row for row in found[1:] if len(row[1]) == len(header)]


def blank(cells):
    return not any(cell.quoted or cell.strip(" \t") for cell in cells)


def _separator(header, delimiter):
    """Return a hint if the header looks as if another character separated its columns, else ""."""
    if len(header) == 1 and not header[0].quoted:
        for other, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
            if other != delimiter and other in header[0]:
                wanted = "tabs (.tsv) separate columns" if delimiter == "\t" else "commas separate columns"
                return f"{str(header[0])!r} is one column: {wanted} here, not {name}"
    return ""


def written(cells):
    """Return a line of CSV."""
    return ",".join(_quoted(cell) if NEEDS_QUOTES.search(cell) or cells == [""] else cell for cell in cells) + "\n"


def _quoted(cell):
    return '"' + cell.replace('"', '""') + '"'
