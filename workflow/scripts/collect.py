"""All cases of a sweep in one table: case, parameters, then the result's columns, in the order of the cases.

Called as `python collect.py TABLE` with sweep_config.table's JSON on stdin. Numbers keep the text that the case wrote,
so the table is the same byte for byte whatever ran the cases.
"""

import csv
import json
import os
import sys


def read_result(path):
    """The rows that a case left behind: a JSON object, a list of them, or CSV/TSV."""
    if path.endswith((".csv", ".tsv")):
        with open(path, newline="", encoding="utf-8-sig") as f:
            return list(csv.DictReader(f, delimiter="\t" if path.endswith(".tsv") else ","))
    with open(path, encoding="utf-8") as f:
        found = json.load(f, parse_float=Text, parse_int=Text, parse_constant=Text)
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is neither a JSON object nor a list of objects")
    return [dict(flatten(row)) for row in rows]


class Text(str):
    """A number as it was written."""


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
    return value if isinstance(value, str) else json.dumps(plain(value))


def plain(value):
    """Inside lists, numbers are numbers again."""
    if isinstance(value, Text):
        return float(value) if any(c in value for c in ".eEnN") else int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def main():
    target, spec = sys.argv[1], json.load(sys.stdin)
    rows, columns = [], {}
    for case in spec["cases"]:
        found = [{}]
        if spec["result"]:
            path = os.path.join(spec["directory"], case["case"], spec["result"])
            try:
                found = read_result(path)
            except (ValueError, OSError) as error:
                sys.exit("%s: the result of case %s cannot be read: %s" % (path, case["case"], error))
        for row in found:
            columns.update(dict.fromkeys(row))
            rows.append((case, row))
    fixed = ["case"] + spec["parameters"]
    # A result that repeats a parameter under its own name adds nothing.
    names = [name for name in columns if name not in fixed]
    part = target + ".part"
    with open(part, "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(fixed + names)
        for case, row in rows:
            values = [case["params"].get(name, "") for name in spec["parameters"]]
            writer.writerow([case["case"]] + values + [row.get(name, "") for name in names])
    os.replace(part, target)


if __name__ == "__main__":
    main()
