"""Print a sweep's table on the terminal: `python show_table.py TABLE`."""

import csv
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def main():
    csv.field_size_limit(2**31 - 1)
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as f:
        header, *rows = csv.reader(f)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
