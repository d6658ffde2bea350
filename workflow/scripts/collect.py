"""All cases of a sweep in one table: case, parameters, then the result's columns, in the order of the cases.

Called as `python collect.py TABLE` with sweep_config.table's JSON on stdin. Numbers keep the text that the case wrote,
so the table is the same byte for byte whatever ran the cases.
"""

import csv
import json
import os
import sys
from pathlib import Path


class Text(str):
    """A number as it was written."""


def read_result(path, name):
    """The rows in a result file, called `name` by the user: a JSON object, a list of them, or CSV/TSV."""
    if name.endswith((".csv", ".tsv")):
        rows = read_csv(path, "\t" if name.endswith(".tsv") else ",")
    else:
        with Path(path).open(encoding="utf-8") as f:
            found = json.load(f, parse_float=Text, parse_int=Text, parse_constant=Text)
        found = found if isinstance(found, list) else [found]
        if not all(isinstance(row, dict) for row in found):
            raise ValueError("it is neither a JSON object nor a list of objects")
        rows = [dict(flatten(row)) for row in found]
    if not rows:
        raise ValueError("it has no rows")
    return rows


def read_csv(path, delimiter):
    with Path(path).open(newline="", encoding="utf-8-sig") as f:
        reader = csv.reader(f, delimiter=delimiter, strict=True)
        header, rows = None, []
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = cells
            elif len(cells) != len(header):
                count, expected = len(cells), len(header)
                raise ValueError(f"line {reader.line_num} has {count} cells, but there are {expected} columns")
            else:
                rows.append(dict(zip(header, cells, strict=True)))
    return rows


def flatten(row, prefix=""):
    """Nested objects become columns with dots."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from flatten(value, prefix + key + ".")
        else:
            yield prefix + key, cell(value)


def cell(value):
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


def plain(value):
    """Inside lists, numbers are numbers again."""
    if isinstance(value, Text):
        return float(value) if any(c in value for c in ".eEnN") else int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def result_of(case, directory, name):
    """The rows of a case; ends with a sentence where there is no such file, or no sense in it."""
    path = os.path.join(directory, case["file"])
    try:
        return read_result(path, name)
    except FileNotFoundError:
        again = os.path.join(directory, "cases", case["case"])
        sys.exit(
            f"case {case['case']} left no {name}\n"
            f"  Try: correct `result:` in the configuration, or, to run the case again: rm -r {again}"
        )
    except (ValueError, csv.Error, OSError) as error:
        sys.exit(f"case {case['case']}: its {name} cannot be read: {error} ({path})")


def columns(spec, found):
    """{column of the results: its name in the table}. One that repeats a parameter is shown only where it differs."""
    names = {}
    fixed = ["case"] + spec["parameters"]
    for case, row in found:
        mine = dict(case["params"], case=case["case"])
        for name, value in row.items():
            if name not in fixed:
                names[name] = name
            elif value != mine.get(name, ""):
                names[name] = "result." + name
    order = dict.fromkeys(name for _, row in found for name in row)
    return {name: names[name] for name in order if name in names}


def main():
    target, spec = sys.argv[1], json.load(sys.stdin)
    found = []
    for case in spec["cases"]:
        rows = result_of(case, os.path.dirname(target), spec["result"]) if case["file"] else [{}]
        found += [(case, row) for row in rows]
    names = columns(spec, found)
    part = target + ".part"
    with Path(part).open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(["case"] + spec["parameters"] + list(names.values()))
        for case, row in found:
            values = [case["params"].get(name, "") for name in spec["parameters"]]
            writer.writerow([case["case"]] + values + [row.get(name, "") for name in names])
    os.replace(part, target)


if __name__ == "__main__":
    main()
